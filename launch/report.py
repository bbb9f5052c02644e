"""The final account of a run: how well, how fast, how big, what moved, what failed, what it cost."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from launch.bill import listed_prices, traffic_of
from launch.evaluation import Evaluation
from launch.run_records import Gang, RunRecords
from launch.status import RunState, RunStatus, losses
from planner.pricing import Bill
from runtime.records import Failure, Traffic


@dataclass(frozen=True)
class Timing:
    """Seconds. Measured figures are None where no segment has finished."""

    wall_s: float | None
    """From the first worker's start to the last one's end."""
    predicted_iteration_s: float
    measured_iteration_s: float | None
    """Median, from one iteration's end to the next one's, within a segment; all workers waited for."""
    start_up_s: float | None
    """Median over segments, from the first worker's start to the end of the segment's first iteration, less one
    iteration."""


@dataclass(frozen=True)
class StageMemory:
    """Peak resident memory of a stage's workers, in MB; ``measured_mb`` is the largest over replicas and segments."""

    stage: int
    layers: str
    memory_mb: int
    replicas: int
    predicted_mb: float
    measured_mb: float | None


@dataclass(frozen=True)
class Report:
    """See the module docstring."""

    run: str
    kind: str
    """Where it ran: "local" (plain processes), "embedded" (the embedded AWS) or "aws"."""
    state: RunState
    message: str | None
    platform: str
    iterations_done: int
    iterations_total: int
    committed_iteration: int
    training_loss: float | None
    evaluation: Evaluation | None
    evaluation_note: str | None
    """Why there is no evaluation."""
    timing: Timing
    memory: tuple[StageMemory, ...]
    traffic: Traffic
    failures: tuple[Failure, ...]
    bill: Bill
    bill_basis: str
    region: str
    """Whose list prices the bill is made of."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "run": self.run,
            "kind": self.kind,
            "state": self.state.value,
            "message": self.message,
            "platform": self.platform,
            "iterations_done": self.iterations_done,
            "iterations_total": self.iterations_total,
            "committed_iteration": self.committed_iteration,
            "training_loss": self.training_loss,
            "evaluation": asdict(self.evaluation) if self.evaluation else None,
            "evaluation_note": self.evaluation_note,
            "timing": asdict(self.timing),
            "memory": [asdict(stage) for stage in self.memory],
            "traffic": self.traffic.model_dump(),
            "failures": [failure.model_dump(mode="json") for failure in self.failures],
            "bill": {**self.bill.to_dict(), "basis": self.bill_basis, "region": self.region},
        }


def make_report(
    records: RunRecords,
    status: RunStatus,
    kind: str,
    evaluation: Evaluation | None,
    evaluation_note: str | None,
    priced: tuple[Bill, str],
) -> Report:
    """The account of the run whose ``records`` and final ``status`` are given."""
    whole = losses(records)
    return Report(
        run=records.run,
        kind=kind,
        state=status.state,
        message=status.message,
        platform=records.manifest.platform,
        iterations_done=status.iterations_done,
        iterations_total=status.iterations_total,
        committed_iteration=status.committed_iteration,
        training_loss=whole[max(whole)] if whole else status.loss,
        evaluation=evaluation,
        evaluation_note=evaluation_note,
        timing=_timing(records),
        memory=_memory(records),
        traffic=traffic_of(records),
        failures=status.failures,
        bill=priced[0],
        bill_basis=priced[1],
        region=listed_prices(records.manifest).region,
    )


def _iteration_ends(records: RunRecords) -> dict[Gang, list[float]]:
    """For each gang whose workers all finished: when each iteration had ended everywhere (Unix time)."""
    ends: dict[Gang, list[list[float]]] = {}
    for (segment, attempt, _, _), summary in records.summaries.items():
        ends.setdefault((segment, attempt), []).append(summary.iteration_ends)
    whole = {gang: lists for gang, lists in ends.items() if len(lists) == records.manifest.workers}
    return {gang: [max(at) for at in zip(*lists, strict=True)] for gang, lists in whole.items()}


def _timing(records: RunRecords) -> Timing:
    ends = _iteration_ends(records)
    steps = [later - earlier for gang in ends.values() for earlier, later in pairwise(gang)]
    step = median(steps) if steps else None
    start_ups = []
    for gang, at in ends.items():
        begin = min(summary.started_at for worker, summary in records.summaries.items() if worker[:2] == gang)
        start_ups.append(max(0.0, at[0] - begin - (step or 0.0)))
    starts = [summary.started_at for summary in records.summaries.values()]
    starts += [progress.started_at for progress in records.progress.values()]
    stops = [summary.ended_at for summary in records.summaries.values()]
    stops += [failure.at for failure in records.failures.values()]
    return Timing(
        wall_s=max(stops) - min(starts) if starts and stops else None,
        predicted_iteration_s=records.manifest.predicted.iteration_s,
        measured_iteration_s=step,
        start_up_s=median(start_ups) if start_ups else None,
    )


def _memory(records: RunRecords) -> tuple[StageMemory, ...]:
    peaks: dict[int, float] = {}
    for (_, _, stage, _), summary in records.summaries.items():
        peaks[stage] = max(peaks.get(stage, 0.0), summary.peak_memory_mb)
    return tuple(
        StageMemory(
            stage=index,
            layers=stage.layers_label,
            memory_mb=stage.memory_mb,
            replicas=stage.replicas,
            predicted_mb=stage.predicted.memory_mb,
            measured_mb=peaks.get(index),
        )
        for index, stage in enumerate(records.manifest.stages)
    )
