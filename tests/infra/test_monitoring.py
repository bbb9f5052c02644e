"""Dashboard and alarms: there when asked for, on the metrics that the workers and the services really send."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import aws_sns as sns
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from infra.monitoring import no_progress_s
from runtime.errors import WorkerFailed
from runtime.metrics import IterationDone, MetricLines
from runtime.records import Failure, WorkerEvent
from tests.infra.synthesis import Synthesised, synthesise_training, text, walk
from tests.manifests import make_manifest


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise_training(
        tmp_path_factory.mktemp("monitored"),
        plan={"stages": 12, "replicas": 2},
        budget_usd=25.0,
        alarm_topic=lambda stack: sns.Topic.from_topic_arn(stack, "Topic", "arn:aws:sns:eu-west-1:111122223333:ops"),
    )


def alarms(stack: Synthesised) -> dict[str, dict[str, Any]]:
    return stack.resources("AWS::CloudWatch::Alarm")


def sums(stack: Synthesised) -> list[dict[str, Any]]:
    """Alarms on what the services count."""
    return [alarm for alarm in alarms(stack).values() if "Metrics" in alarm]


def limits(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """Alarms on the workers' own metrics, by metric."""
    return {alarm["MetricName"]: alarm for alarm in alarms(stack).values() if "MetricName" in alarm}


def watched(stack: Synthesised) -> set[tuple[str, str]]:
    """Metric and the logical id of what it is about, of every alarm on what the services count."""
    return {
        (stat["Metric"]["MetricName"], text(stat["Metric"]["Dimensions"][0]["Value"]))
        for alarm in sums(stack)
        for query in alarm["Metrics"]
        if (stat := query.get("MetricStat"))
    }


def graphs(stack: Synthesised) -> list[dict[str, Any]]:
    (dashboard,) = stack.resources("AWS::CloudWatch::Dashboard").values()
    assert "DashboardName" not in dashboard
    widgets = json.loads(text(dashboard["DashboardBody"]))["widgets"]
    return [widget["properties"] for widget in widgets if widget["type"] == "metric"]


def test_nothing_of_it_is_there_unless_asked_for(stack: Synthesised) -> None:
    assert not [r for r in stack.template["Resources"].values() if r["Type"].startswith("AWS::CloudWatch::")]
    assert "FUNCPIPE_METRICS" not in stack.text


def test_an_alarm_watches_the_executions(monitored: Synthesised) -> None:
    (machine,) = monitored.resources("AWS::StepFunctions::StateMachine")
    assert watched(monitored) == {("ExecutionsFailed", machine), ("ExecutionsTimedOut", machine)}


def test_the_dashboard_shows_errors_of_the_aliases_and_concurrency_of_the_functions(monitored: Synthesised) -> None:
    """Reserved concurrency is of the function; what is invoked, and so what fails or is throttled, is its alias."""
    shown: dict[str, list[list[str]]] = {}
    for graph in graphs(monitored):
        for namespace, name, *rest in graph["metrics"]:
            if namespace == "AWS/Lambda":
                shown.setdefault(name, []).append([part for part in rest if isinstance(part, str)])
    functions = {k: p for k, p in monitored.resources("AWS::Lambda::Function").items() if p in monitored.functions}
    assert sorted(shown["ConcurrentExecutions"]) == sorted(["FunctionName", key] for key in functions)
    for name in ("Errors", "Throttles"):
        assert sorted(shown[name]) == sorted(["FunctionName", key, "Resource", f"{key}:deployed"] for key in functions)


def test_an_alarm_goes_off_at_the_first_and_tells_the_topic(monitored: Synthesised) -> None:
    for alarm in alarms(monitored).values():
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching")
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["arn:aws:sns:eu-west-1:111122223333:ops"]
    for alarm in sums(monitored):
        assert alarm["Threshold"] == 0
        stats = [query for query in alarm["Metrics"] if "MetricStat" in query]
        assert len(stats) <= 10, "CloudWatch's limit"
        assert {query["MetricStat"]["Stat"] for query in stats} == {"Sum"}
        (returned,) = [query for query in alarm["Metrics"] if query.get("ReturnData", True)]
        assert returned["Expression"] == "SUM(METRICS())"


def test_alarms_on_the_workers_own_metrics(monitored: Synthesised) -> None:
    training = monitored.environment(monitored.functions[0])["FUNCPIPE_METRICS"]
    assert {name: alarm["Threshold"] for name, alarm in limits(monitored).items()} == {
        "SpentUSD": 20.0,  # 80 % of 25
        "SinceProgressSeconds": 120.0,  # an iteration is predicted to take 1 s
        "Failures": 0,
    }
    for name, alarm in limits(monitored).items():
        statistic = "Sum" if name == "Failures" else "Maximum"
        assert (alarm["Namespace"], alarm["Statistic"], alarm["Period"]) == ("FuncPipe", statistic, 60)
        assert alarm["Dimensions"] == [{"Name": "Training", "Value": training}]


def test_the_plans_budget_is_the_alarms_unless_another_is_given(tmp_path: Path) -> None:
    plan = {"stages": 1, "budget_usd": 10.0}
    for given, threshold in (({}, 8.0), ({"budget_usd": 5.0}, 4.0)):
        stack = synthesise_training(tmp_path, plan=plan, monitoring=True, **given)
        assert limits(stack)["SpentUSD"]["Threshold"] == threshold


def test_slow_iterations_are_given_their_time() -> None:
    manifest = make_manifest()
    predicted = manifest.predicted.model_copy(update={"iteration_s": 90.0})
    assert no_progress_s(manifest.model_copy(update={"predicted": predicted})) == 900.0


def test_without_a_topic_alarms_tell_nobody(tmp_path: Path) -> None:
    stack = synthesise_training(tmp_path, plan={"stages": 1}, monitoring=True)
    assert len(alarms(stack)) == 3
    assert "SpentUSD" not in limits(stack), "there is no budget"
    assert all("AlarmActions" not in alarm for alarm in alarms(stack).values())


def test_the_dashboard_shows_just_the_metrics_that_workers_send(monitored: Synthesised) -> None:
    """What the runtime writes with the functions' own environment, compared with what the dashboard reads."""
    sent = set()
    for stage, function in enumerate(monitored.functions):
        lines: list[str] = []
        event = WorkerEvent(
            run="r", segment=0, attempt=0, stage=stage, replica=0, manifest_sha256="a" * 64, commit="initial"
        )
        metrics = MetricLines(monitored.environment(function)["FUNCPIPE_METRICS"], event, lines.append)
        loss, spent_usd = 2.0 if stage == 11 else None, 0.1 if stage == 0 else None
        with pytest.raises(WorkerFailed), metrics.writing():
            metrics.add(IterationDone(iteration=0, seconds=1.0, loss=loss, segment_share=0.5, spent_usd=spent_usd))
            raise WorkerFailed("late", Failure(event=event, kind="stalled", error="late", at=1.0))
        for line in map(json.loads, lines):
            for directive in line["_aws"]["CloudWatchMetrics"]:
                (names,) = directive["Dimensions"]
                dimensions = tuple(part for name in sorted(names) for part in (name, line[name]))
                sent |= {(directive["Namespace"], metric["Name"], *dimensions) for metric in directive["Metrics"]}
    shown = set()
    for graph in graphs(monitored):
        for metric in graph["metrics"]:
            key = tuple(part for part in metric if isinstance(part, str))
            if key[0] == "FuncPipe":
                shown.add(key)
    assert shown == sent
    assert len(sent) == 12 + 6


def test_the_dashboard_names_every_stage(monitored: Synthesised) -> None:
    titles = [graph["title"] for graph in graphs(monitored)]
    assert len(titles) == len(set(titles)) == 8
    labels = {value["label"] for value in walk(graphs(monitored)) if isinstance(value, dict) and "label" in value}
    assert {f"stage {index}" for index in range(12)} <= labels


def test_a_monitored_template_has_no_error(monitored: Synthesised) -> None:
    found = lint_file(monitored.assembly / "stack.template.json", ManualArgs(regions=["us-east-1"]))
    assert not [str(match) for match in found if match.rule.severity == "error"]
