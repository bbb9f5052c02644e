"""What a worker reports of its iterations to CloudWatch, as lines of its log in the embedded metric format.

CloudWatch makes metrics of them, at no charge but for the log's bytes and for each metric that has data in an hour:

    FuncPipe / Training, Stage   IterationSeconds    of each stage's first replica
    FuncPipe / Training          Loss                from the last stage: the average over its replicas is the loss
                                 SegmentProgress     per cent, from the first worker of the first stage

One line holds the values of up to 10 s, so that none is lost and short iterations do not fill the log.
(docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html, read
2026-11-22)
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.records import WorkerEvent

NAMESPACE = "FuncPipe"
LINE_INTERVAL_S = 10.0
VALUES_PER_LINE = 100
"""The format's limit for the values of one metric in one line."""


@dataclass(frozen=True)
class IterationDone:
    """One iteration as a worker saw it."""

    iteration: int
    seconds: float
    loss: float | None
    """On the last stage: the replica's share of the loss, times the replicas, so that their mean is the loss."""
    segment_share: float
    """Part of the segment's iterations that are done, above 0 and up to 1."""


class MetricLines:
    """Collects what one worker's iterations report and writes it in time.

    Args:
        training: the dimension that tells this deployment from others in the account.
        write: takes one line.
        clock: Unix time, seconds.
    """

    def __init__(
        self, training: str, event: WorkerEvent, write: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._training, self._event, self._write, self._clock = training, event, write, clock
        self._values: dict[str, list[float]] = {"IterationSeconds": [], "Loss": [], "SegmentProgress": []}
        self._written_at = clock()

    def add(self, done: IterationDone) -> None:
        """Takes up an iteration; a loss that is not finite is left out, as CloudWatch cannot hold it."""
        if self._event.replica == 0:
            self._values["IterationSeconds"].append(done.seconds)
            if self._event.stage == 0:
                self._values["SegmentProgress"].append(100 * done.segment_share)
        if done.loss is not None and math.isfinite(done.loss):
            self._values["Loss"].append(done.loss)
        full = max(map(len, self._values.values())) >= VALUES_PER_LINE
        if full or self._clock() - self._written_at >= LINE_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Writes what has been collected, if anything; to be called at the worker's end."""
        self._written_at = self._clock()
        values = {name: collected for name, collected in self._values.items() if collected}
        if not values:
            return
        directives = [
            _directive(["Training", "Stage"], {"IterationSeconds": "Seconds"} if "IterationSeconds" in values else {}),
            _directive(
                ["Training"],
                {name: unit for name, unit in (("Loss", "None"), ("SegmentProgress", "Percent")) if name in values},
            ),
        ]
        event = self._event
        line = {
            "_aws": {
                "Timestamp": int(self._written_at * 1_000),
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
        self._write(json.dumps(line))
        self._values = {name: [] for name in self._values}


def _directive(dimensions: list[str], units: dict[str, str]) -> dict[str, Any]:
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    return {"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics}
