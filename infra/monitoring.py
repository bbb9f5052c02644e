"""A dashboard and alarms for one training. They cost money while deployed, so they are there only when asked for.

Per month in us-east-1: USD 3 for a dashboard beyond an account's first three; USD 0.10 for each metric that an alarm
looks at, here 2 for the executions and 2 per stage; USD 0.30 for each custom metric, by the hours in which it has data,
here 2 and 1 per stage. A GB of log is USD 0.50. (As cloudburn.io/blog/amazon-cloudwatch-pricing and
signoz.io/guides/cloudwatch-pricing give them in February 2026, read 2026-11-22.)
"""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from runtime.metrics import NAMESPACE

_MINUTE = Duration.minutes(1)
_METRICS_OF_AN_ALARM = 10
"""CloudWatch's limit for an alarm on an expression
(docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html)."""
_WIDTH = 8
"""A third of a dashboard's width."""


class Monitoring(Construct):
    """What to look at while a run trains, and what to be told of.

    Args:
        training: dimension of the workers' own metrics, as in their FUNCPIPE_METRICS.
        functions: of the stages, in order.
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
        functions: Sequence[lambda_.IFunction],
        state_machine: sfn.IStateMachine,
        topic: sns.ITopic | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._topic = topic
        executions = {
            "failed": state_machine.metric_failed(period=_MINUTE, statistic="Sum"),
            "timed_out": state_machine.metric_timed_out(period=_MINUTE, statistic="Sum"),
        }
        self.alarms = [self._alarm("ExecutionFailed", "A run has failed or timed out", executions)]
        for first in range(0, len(functions), _METRICS_OF_AN_ALARM):
            group = dict(list(enumerate(functions))[first : first + _METRICS_OF_AN_ALARM])
            stages = f"stages {first} to {max(group)}"
            errors = {f"stage{index}": f.metric_errors(period=_MINUTE) for index, f in group.items()}
            throttles = {f"stage{index}": f.metric_throttles(period=_MINUTE) for index, f in group.items()}
            self.alarms += [
                self._alarm(f"Errors{first}", f"A worker of {stages} has failed", errors),
                self._alarm(
                    f"Throttles{first}", f"A worker of {stages} could not start: concurrency is used up", throttles
                ),
            ]
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=Duration.hours(3))
        self.dashboard.add_widgets(*_training_widgets(training, len(functions)))
        self.dashboard.add_widgets(*_service_widgets(functions, state_machine))
        self.dashboard.add_widgets(cloudwatch.AlarmStatusWidget(alarms=self.alarms, width=3 * _WIDTH, title="Alarms"))

    def _alarm(self, construct_id: str, description: str, metrics: dict[str, cloudwatch.Metric]) -> cloudwatch.Alarm:
        """Goes off in the minute in which the sum of the metrics is above zero; no data is no alarm."""
        total = cloudwatch.MathExpression(
            expression="SUM(METRICS())", using_metrics=metrics, period=_MINUTE, label=description
        )
        alarm = total.create_alarm(
            self,
            construct_id,
            alarm_description=description,
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        if self._topic is not None:
            alarm.add_alarm_action(actions.SnsAction(self._topic))
            alarm.add_ok_action(actions.SnsAction(self._topic))
        return alarm


def _training_widgets(training: str, stages: int) -> list[cloudwatch.IWidget]:
    def metric(name: str, statistic: str, label: str, **dimensions: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={"Training": training, **dimensions},
            statistic=statistic,
            period=_MINUTE,
            label=label,
        )

    seconds = [metric("IterationSeconds", "Average", f"stage {index}", Stage=str(index)) for index in range(stages)]
    return [
        _graph("Loss", [metric("Loss", "Average", "mean over a minute")]),
        _graph("Iteration, seconds", seconds),
        _graph("Segment, per cent done", [metric("SegmentProgress", "Maximum", "segment")]),
    ]


def _service_widgets(
    functions: Sequence[lambda_.IFunction], state_machine: sfn.IStateMachine
) -> list[cloudwatch.IWidget]:
    each = list(enumerate(functions))
    trouble = [
        metric
        for index, function in each
        for metric in (
            function.metric_errors(period=_MINUTE, label=f"stage {index} errors"),
            function.metric_throttles(period=_MINUTE, label=f"stage {index} throttles"),
        )
    ]
    workers = [
        function.metric("ConcurrentExecutions", period=_MINUTE, statistic="Maximum", label=f"stage {index}")
        for index, function in each
    ]
    runs = [
        state_machine.metric_started(period=_MINUTE, label="started"),
        state_machine.metric_succeeded(period=_MINUTE, label="succeeded"),
        state_machine.metric_failed(period=_MINUTE, label="failed"),
        state_machine.metric_aborted(period=_MINUTE, label="stopped"),
        state_machine.metric_timed_out(period=_MINUTE, label="timed out"),
    ]
    return [
        _graph("Workers at once", workers),
        _graph("Errors and throttles of functions", trouble),
        _graph("Executions", runs),
    ]


def _graph(title: str, metrics: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=_WIDTH)
