"""What a worker reports to CloudWatch, as lines of its log in the embedded metric format.

CloudWatch makes metrics of them, at no charge but for the log's bytes and for each metric that has data in an hour:

    FuncPipe / Training, Stage   IterationSeconds     of each stage's first replica
    FuncPipe / Training          Loss                 from the last stage: the average over its replicas is the loss
                                 SegmentProgress      per cent, from the first worker of the first stage
                                 SinceProgressSeconds since the last iteration's end, from each stage's first replica
                                 SpentUSD             of the run so far, from its leader
                                 Stalls               1 from each worker that gave up waiting for another
                                 Failures             1 from each worker that failed, or stopped as its gang had failed

One line holds the values of up to 10 s, so that none is lost and short iterations do not fill the log. A thread writes
it, so that a worker that waits, or is in a long iteration, is heard of too.
(docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html, read
2026-11-22)
"""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runtime.errors import WorkerFailed
from runtime.outcome import GangAborted
from runtime.records import WorkerEvent

NAMESPACE = "FuncPipe"
LINE_INTERVAL_S = 10.0
VALUES_PER_LINE = 100
"""The format's limit for the values of one metric in one line."""
_UNITS_BY_STAGE = {"IterationSeconds": "Seconds"}
_UNITS = {
    "Loss": "None",
    "SegmentProgress": "Percent",
    "SinceProgressSeconds": "Seconds",
    "SpentUSD": "None",
    "Stalls": "Count",
    "Failures": "Count",
}


@dataclass(frozen=True)
class IterationDone:
    """One iteration as a worker saw it."""

    iteration: int
    seconds: float
    loss: float | None
    """On the last stage: the replica's share of the loss, times the replicas, so that their mean is the loss."""
    segment_share: float
    """Part of the segment's iterations that are done, above 0 and up to 1."""
    spent_usd: float | None = None
    """Of the run so far, as its budget is counted; known to the leader."""


class MetricLines:
    """Collects what one worker reports and writes it in time. Its methods may be called by any thread.

    Args:
        training: the dimension that tells this deployment from others in the account.
        write: takes one line.
        clock: Unix time, seconds.
    """

    def __init__(
        self, training: str, event: WorkerEvent, write: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._training, self._event, self._write, self._clock = training, event, write, clock
        self._values: dict[str, list[float]] = {name: [] for name in (*_UNITS_BY_STAGE, *_UNITS)}
        self._progress_at = clock()
        self._lock = threading.RLock()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Writes a line every 10 s while the worker is at work in the body, and a last one after it.

        A worker that fails is counted, and so is one that stops since its gang has failed, for a worker that is killed
        can tell nobody; one whose run was stopped by its owner is not.
        """
        ended = threading.Event()

        def write_in_time() -> None:
            while not ended.wait(LINE_INTERVAL_S):
                self.write_line()

        thread = threading.Thread(target=write_in_time, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        except WorkerFailed as error:
            with self._lock:
                if error.failure is not None and error.failure.kind == "stalled":
                    self._values["Stalls"].append(1.0)
                if not (isinstance(error.__cause__, GangAborted) and error.__cause__.by_owner):
                    self._values["Failures"].append(1.0)
            raise
        finally:
            ended.set()
            thread.join()
            self.write_line()

    def add(self, done: IterationDone) -> None:
        """Takes up an iteration; a loss that is not finite is left out, as CloudWatch cannot hold it."""
        with self._lock:
            self._progress_at = self._clock()
            if self._event.replica == 0:
                self._values["IterationSeconds"].append(done.seconds)
                if self._event.stage == 0:
                    self._values["SegmentProgress"].append(100 * done.segment_share)
            if done.loss is not None and math.isfinite(done.loss):
                self._values["Loss"].append(done.loss)
            if done.spent_usd is not None:
                self._values["SpentUSD"].append(done.spent_usd)
            if max(map(len, self._values.values())) >= VALUES_PER_LINE:
                self.write_line()

    def write_line(self) -> None:
        """Writes what has been collected, and how long ago the last iteration ended."""
        with self._lock:
            now = self._clock()
            if self._event.replica == 0:
                self._values["SinceProgressSeconds"].append(max(0.0, now - self._progress_at))
            values = {name: collected for name, collected in self._values.items() if collected}
            if values:
                self._write(json.dumps(self._line(now, values)))
            self._values = {name: [] for name in self._values}

    def _line(self, at: float, values: dict[str, list[float]]) -> dict[str, Any]:
        directives = [
            _directive(["Training", "Stage"], {name: unit for name, unit in _UNITS_BY_STAGE.items() if name in values}),
            _directive(["Training"], {name: unit for name, unit in _UNITS.items() if name in values}),
        ]
        event = self._event
        return {
            "_aws": {
                "Timestamp": int(at * 1_000),
                "CloudWatchMetrics": [directive for directive in directives if directive["Metrics"]],
            },
            "Training": self._training,
            "Stage": str(event.stage),
            "run": event.run,
            "segment": event.segment,
            "attempt": event.attempt,
            "stage": event.stage,
            "replica": event.replica,
            **values,
        }


def _directive(dimensions: list[str], units: dict[str, str]) -> dict[str, Any]:
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    return {"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics}
