"""Lines in the embedded metric format: what CloudWatch will make of them."""

import json
import math
from typing import Any

import pytest

from runtime.metrics import LINE_INTERVAL_S, VALUES_PER_LINE, IterationDone, MetricLines
from runtime.records import WorkerEvent


class Log:
    """Collects lines; its clock stands still unless it is moved."""

    def __init__(self, stage: int = 0, replica: int = 0) -> None:
        self.lines: list[dict[str, Any]] = []
        self.now = 1_000.0
        event = WorkerEvent(run="r", segment=2, attempt=1, stage=stage, replica=replica, manifest_sha256="a" * 64)
        self.metrics = MetricLines("stack/Training", event, self._write, clock=lambda: self.now)

    def _write(self, line: str) -> None:
        assert "\n" not in line, "one line is one log event"
        self.lines.append(json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")))

    def add(self, iteration: int, loss: float | None = None) -> None:
        share = (iteration + 1) / 1_000
        self.metrics.add(IterationDone(iteration=iteration, seconds=0.5, loss=loss, segment_share=share))


def names(line: dict[str, Any]) -> dict[str, list[str]]:
    """Metric -> its dimensions."""
    return {
        metric["Name"]: directive["Dimensions"][0]
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }


def test_what_each_worker_reports() -> None:
    for stage, replica, loss, expected in [
        (0, 0, None, {"IterationSeconds": ["Training", "Stage"], "SegmentProgress": ["Training"]}),
        (1, 0, None, {"IterationSeconds": ["Training", "Stage"]}),
        (2, 0, 0.5, {"IterationSeconds": ["Training", "Stage"], "Loss": ["Training"]}),
        (2, 1, 0.5, {"Loss": ["Training"]}),
    ]:
        log = Log(stage, replica)
        log.add(0, loss)
        log.metrics.flush()
        (line,) = log.lines
        assert names(line) == expected
        assert {name: line[name] for name in ("run", "segment", "attempt", "stage", "replica")} == {
            "run": "r",
            "segment": 2,
            "attempt": 1,
            "stage": stage,
            "replica": replica,
        }
        assert line["_aws"]["Timestamp"] == 1_000_000
        for dimensions in expected.values():
            assert all(isinstance(line[dimension], str) for dimension in dimensions)
        for metric in expected:
            assert len(line[metric]) == 1


def test_a_worker_with_nothing_to_report_writes_nothing() -> None:
    log = Log(stage=1, replica=3)
    log.add(0)
    log.metrics.flush()
    assert log.lines == []


def test_a_line_holds_the_values_of_some_seconds() -> None:
    log = Log(stage=1)
    log.add(0, 3.0)
    log.add(1, 2.0)
    assert log.lines == []
    log.now += LINE_INTERVAL_S
    log.add(2, 1.0)
    (line,) = log.lines
    assert line["Loss"] == [3.0, 2.0, 1.0]
    log.metrics.flush()
    assert len(log.lines) == 1, "what is written is not written again"


def test_no_line_has_more_values_than_the_format_allows() -> None:
    log = Log(stage=1)
    for iteration in range(2 * VALUES_PER_LINE + 1):
        log.add(iteration, float(iteration))
    log.metrics.flush()
    assert [len(line["Loss"]) for line in log.lines] == [VALUES_PER_LINE, VALUES_PER_LINE, 1]
    values = [value for line in log.lines for value in line["Loss"]]
    assert values == list(map(float, range(2 * VALUES_PER_LINE + 1)))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_diverged_is_left_out(loss: float) -> None:
    log = Log(stage=1)
    log.add(0, loss)
    log.metrics.flush()
    assert names(log.lines[0]) == {"IterationSeconds": ["Training", "Stage"]}
