"""A dashboard and alarms for one training. They cost money while deployed, so they are there only when asked for.

Per month in us-east-1: USD 3 for a dashboard beyond an account's first three; USD 0.10 for each metric that an alarm
looks at, here 2 for the executions, and 2 or 3 of the workers' own; USD 0.30 for each custom metric, by
the hours in which it has data, here up to 6 and 1 per stage. A GB of log is USD 0.50. (As
cloudburn.io/blog/amazon-cloudwatch-pricing and signoz.io/guides/cloudwatch-pricing give them in February 2026, read
2026-11-22.)
"""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from runtime.manifest import Manifest
from runtime.metrics import NAMESPACE

_MINUTE = Duration.minutes(1)
_WIDTH = 8
_HEIGHT = 6
"""A third of a dashboard's width, and CDK's usual height."""
BUDGET_SHARE = 0.8
"""Part of the budget whose use is told."""
_NO_PROGRESS_ITERATIONS = 10
_NO_PROGRESS_AT_LEAST_S = 120
"""Longer than a function takes to start from an image and to load its layers."""


def no_progress_s(manifest: Manifest) -> float:
    """So long without the end of an iteration is an alarm: 10 predicted iterations, and 2 min at least."""
    return max(_NO_PROGRESS_AT_LEAST_S, _NO_PROGRESS_ITERATIONS * manifest.predicted.iteration_s)


class Monitoring(Construct):
    """What to look at while a run trains, and what to be told of.

    Args:
        training: dimension of the workers' own metrics, as in their FUNCPIPE_METRICS.
        stages: their functions and aliases, in order.
        no_progress_s: seconds without the end of an iteration that are an alarm.
        budget_usd: of a run; the use of 80 % of it is an alarm.
        topic: is told when an alarm goes off and when it is over; None shows alarms on the console only.

    Attributes:
        dashboard, alarms: what was made.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        training: str,
        stages: Sequence[tuple[lambda_.IFunction, lambda_.IAlias]],
        state_machine: sfn.IStateMachine,
        no_progress_s: float,
        budget_usd: float | None,
        topic: sns.ITopic | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._training, self._topic = training, topic
        executions = {
            "failed": state_machine.metric_failed(period=_MINUTE, statistic="Sum"),
            "timed_out": state_machine.metric_timed_out(period=_MINUTE, statistic="Sum"),
        }
        self.alarms = [
            self._alarm("ExecutionFailed", "A run has failed or timed out", executions),
            self._limit(
                "NoProgress",
                f"No iteration has ended for {no_progress_s:g} s",
                self._worker_metric("SinceProgressSeconds", "Maximum"),
                no_progress_s,
            ),
            # Not the functions' own errors: an alarm looks at ten metrics at most, which is six alarms for 60 stages. A
            # worker that is killed, or cannot start, is told of by those of its gang that stop for it; where there is
            # none of them, and no attempt fares better, the execution fails.
            self._limit("WorkerFailed", "A worker has failed", self._worker_metric("Failures", "Sum"), 0),
        ]
        if budget_usd is not None:
            told = f"A run has used {BUDGET_SHARE:.0%} of its budget of USD {budget_usd:g}"
            self.alarms.append(
                self._limit("Budget", told, self._worker_metric("SpentUSD", "Maximum"), BUDGET_SHARE * budget_usd)
            )
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=Duration.hours(3))
        self.dashboard.add_widgets(*self._training_widgets(len(stages)))
        self.dashboard.add_widgets(
            _graph(
                "Seconds since an iteration's end; stalls, failures",
                [self._worker_metric("SinceProgressSeconds", "Maximum", "longest of the stages")],
                right=[
                    self._worker_metric("Stalls", "Sum", "workers that gave up waiting"),
                    self._worker_metric("Failures", "Sum", "workers that failed, and stopped for it"),
                ],
                line=no_progress_s,
                line_label="alarm",
            ),
            _graph(
                "Billed so far, USD",
                [self._worker_metric("SpentUSD", "Maximum", "run")],
                line=budget_usd,
                line_label="budget",
            ),
            _concurrency_widget([function for function, _ in stages]),
        )
        self.dashboard.add_widgets(
            *_service_widgets([alias for _, alias in stages], state_machine),
            cloudwatch.AlarmStatusWidget(alarms=self.alarms, width=_WIDTH, height=_HEIGHT, title="Alarms"),
        )

    def _worker_metric(
        self, name: str, statistic: str, label: str | None = None, **dimensions: str
    ) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={"Training": self._training, **dimensions},
            statistic=statistic,
            period=_MINUTE,
            label=label,
        )

    def _alarm(self, construct_id: str, description: str, metrics: dict[str, cloudwatch.Metric]) -> cloudwatch.Alarm:
        """Goes off in the minute in which the sum of the metrics is above zero."""
        total = cloudwatch.MathExpression(
            expression="SUM(METRICS())", using_metrics=metrics, period=_MINUTE, label=description
        )
        return self._limit(construct_id, description, total, 0)

    def _limit(
        self, construct_id: str, description: str, metric: cloudwatch.IMetric, threshold: float
    ) -> cloudwatch.Alarm:
        """Goes off in the minute in which the metric is above the threshold; no data is no alarm."""
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            metric=metric,
            alarm_description=description,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        if self._topic is not None:
            alarm.add_alarm_action(actions.SnsAction(self._topic))
            alarm.add_ok_action(actions.SnsAction(self._topic))
        return alarm

    def _training_widgets(self, stages: int) -> list[cloudwatch.IWidget]:
        seconds = [
            self._worker_metric("IterationSeconds", "Average", f"stage {index}", Stage=str(index))
            for index in range(stages)
        ]
        return [
            _graph("Loss", [self._worker_metric("Loss", "Average", "mean over a minute")]),
            _graph("Iteration, seconds", seconds),
            _graph("Segment, per cent done", [self._worker_metric("SegmentProgress", "Maximum", "segment")]),
        ]


def _concurrency_widget(functions: Sequence[lambda_.IFunction]) -> cloudwatch.IWidget:
    """Of functions, as reserved concurrency is: all their versions share it."""
    workers = [
        function.metric("ConcurrentExecutions", period=_MINUTE, statistic="Maximum", label=f"stage {index}")
        for index, function in enumerate(functions)
    ]
    return _graph("Workers at once", workers)


def _service_widgets(aliases: Sequence[lambda_.IAlias], state_machine: sfn.IStateMachine) -> list[cloudwatch.IWidget]:
    each = list(enumerate(aliases))
    trouble = [
        metric
        for index, alias in each
        for metric in (
            alias.metric_errors(period=_MINUTE, label=f"stage {index} errors"),
            alias.metric_throttles(period=_MINUTE, label=f"stage {index} throttles"),
        )
    ]
    runs = [
        state_machine.metric_started(period=_MINUTE, label="started"),
        state_machine.metric_succeeded(period=_MINUTE, label="succeeded"),
        state_machine.metric_failed(period=_MINUTE, label="failed"),
        state_machine.metric_aborted(period=_MINUTE, label="stopped"),
        state_machine.metric_timed_out(period=_MINUTE, label="timed out"),
    ]
    return [
        _graph("Errors and throttles of functions", trouble),
        _graph("Executions", runs),
    ]


def _graph(
    title: str,
    metrics: Sequence[cloudwatch.IMetric],
    *,
    right: Sequence[cloudwatch.IMetric] = (),
    line: float | None = None,
    line_label: str = "",
) -> cloudwatch.GraphWidget:
    """``line``: drawn across the graph at this value of the left axis."""
    lines = [] if line is None else [cloudwatch.HorizontalAnnotation(value=line, label=line_label)]
    return cloudwatch.GraphWidget(
        title=title,
        left=list(metrics),
        right=list(right),
        left_annotations=lines,
        width=_WIDTH,
        height=_HEIGHT,
    )
