"""Lines in the embedded metric format: what CloudWatch will make of them."""

import json
import math
import threading
from typing import Any

import pytest

from runtime.errors import WorkerFailed
from runtime.metrics import VALUES_PER_LINE, IterationDone, MetricLines
from runtime.outcome import GangAborted
from runtime.records import Failure, WorkerEvent


class Log:
    """Collects lines; its clock stands still unless it is moved."""

    def __init__(self, stage: int = 0, replica: int = 0) -> None:
        self.lines: list[dict[str, Any]] = []
        self.now = 1_000.0
        event = WorkerEvent(
            run="r", segment=2, attempt=1, stage=stage, replica=replica, manifest_sha256="a" * 64, commit="initial"
        )
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


OF_A_FIRST_REPLICA = {"IterationSeconds": ["Training", "Stage"], "SinceProgressSeconds": ["Training"]}


def test_what_each_worker_reports() -> None:
    for stage, replica, loss, expected in [
        (0, 0, None, OF_A_FIRST_REPLICA | {"SegmentProgress": ["Training"]}),
        (1, 0, None, OF_A_FIRST_REPLICA),
        (2, 0, 0.5, OF_A_FIRST_REPLICA | {"Loss": ["Training"]}),
        (2, 1, 0.5, {"Loss": ["Training"]}),
    ]:
        log = Log(stage, replica)
        log.add(0, loss)
        log.metrics.write_line()
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
    log.metrics.write_line()
    assert log.lines == []


def test_a_line_holds_the_values_since_the_last_one() -> None:
    log = Log(stage=1)
    for loss in (3.0, 2.0, 1.0):
        log.add(0, loss)
    assert log.lines == []
    log.metrics.write_line()
    (line,) = log.lines
    assert line["Loss"] == [3.0, 2.0, 1.0]
    log.metrics.write_line()
    assert names(log.lines[1]) == {"SinceProgressSeconds": ["Training"]}, "what is written is not written again"


def test_how_long_ago_the_last_iteration_ended() -> None:
    log = Log(stage=1)
    for seconds, iteration in [(30.0, None), (40.0, 0), (50.0, None)]:
        log.now += seconds
        if iteration is not None:
            log.add(iteration)
        log.metrics.write_line()
    assert [line["SinceProgressSeconds"] for line in log.lines] == [[30.0], [0.0], [50.0]]


def test_the_leaders_word_on_the_money_is_passed_on() -> None:
    log = Log()
    log.metrics.add(IterationDone(iteration=0, seconds=0.5, loss=None, segment_share=0.5, spent_usd=0.25))
    log.metrics.write_line()
    assert log.lines[0]["SpentUSD"] == [0.25]


def test_lines_are_written_while_a_worker_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.metrics.LINE_INTERVAL_S", 0.001)
    log, written = Log(), threading.Event()
    write = log._write
    log.metrics._write = lambda line: (write(line), written.set())
    with log.metrics.writing():
        assert written.wait(60), "the body does nothing, and yet a line is written"
    assert "metrics" not in {thread.name for thread in threading.enumerate()}, "it ends with the worker"


@pytest.mark.parametrize(
    ("kind", "cause", "counted"),
    [
        ("stalled", None, {"Stalls", "Failures"}),
        ("exception", ValueError(), {"Failures"}),
        ("aborted", GangAborted("stage 1 was killed"), {"Failures"}),
        ("aborted", GangAborted("stopped by `funcpipe stop`", by_owner=True), set()),
    ],
)
def test_stalls_and_failures_are_counted(kind: Any, cause: Exception | None, counted: set[str]) -> None:
    log = Log(replica=1)
    event = WorkerEvent(run="r", segment=2, attempt=1, stage=0, replica=1, manifest_sha256="a" * 64, commit="initial")
    failure = Failure(event=event, kind=kind, error="it ended", at=1.0)
    with pytest.raises(WorkerFailed), log.metrics.writing():
        raise WorkerFailed("it ended", failure) from cause
    assert {name for line in log.lines for name in names(line)} == counted
    assert all(line[name] == [1.0] for line in log.lines for name in counted)


def test_no_line_has_more_values_than_the_format_allows() -> None:
    log = Log(stage=1)
    for iteration in range(2 * VALUES_PER_LINE + 1):
        log.add(iteration, float(iteration))
    log.metrics.write_line()
    assert [len(line["Loss"]) for line in log.lines] == [VALUES_PER_LINE, VALUES_PER_LINE, 1]
    values = [value for line in log.lines for value in line["Loss"]]
    assert values == list(map(float, range(2 * VALUES_PER_LINE + 1)))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_diverged_is_left_out(loss: float) -> None:
    log = Log(stage=1)
    log.add(0, loss)
    log.metrics.write_line()
    assert names(log.lines[0]) == OF_A_FIRST_REPLICA
