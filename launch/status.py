"""Where a run is, worked out from its records: progress, loss, failures, cost so far."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from launch.deaths import explained
from launch.run_records import RunRecords, Worker
from planner.pricing import bill, gb_seconds, lambda_compute
from runtime.manifest import Manifest
from runtime.records import Abort, Commit, EndReason, Failure, FailureKind

FRESH_S = 20.0
"""A worker overwrites its progress about every second; one that has been silent for longer is not counted as alive."""
_RATE_WINDOW = 30
"""Observations that the iteration rate is taken over."""


class RunState(StrEnum):
    """What a run is doing, or how it ended."""

    STARTING = "starting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class StageStatus:
    """The workers of one stage in the gang under way."""

    stage: int
    alive: int
    finished: int
    expected: int


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment."""

    run: str
    state: RunState
    iterations_done: int
    iterations_total: int
    committed_iteration: int
    loss: float | None
    loss_is_approximate: bool
    """The replicas of the last stage last told of different iterations."""
    segment: int
    segments: int
    attempt: int
    stages: tuple[StageStatus, ...]
    eta_s: float | None
    usd_so_far: float
    failures: tuple[Failure, ...]
    message: str | None
    """Why the run failed or was stopped, as far as it left word."""
    last_sign_at: float | None
    """Unix time of the newest sign of life."""

    @property
    def ended(self) -> bool:
        return self.state in (RunState.DONE, RunState.FAILED, RunState.STOPPED)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; times in s, ``last_sign_at`` as Unix time."""
        return {
            "run": self.run,
            "state": self.state.value,
            "iterations_done": self.iterations_done,
            "iterations_total": self.iterations_total,
            "committed_iteration": self.committed_iteration,
            "loss": self.loss,
            "loss_is_approximate": self.loss_is_approximate,
            "segment": self.segment,
            "segments": self.segments,
            "attempt": self.attempt,
            "stages": [vars(stage) for stage in self.stages],
            "eta_s": self.eta_s,
            "usd_so_far": self.usd_so_far,
            "failures": [failure.model_dump(mode="json") for failure in self.failures],
            "message": self.message,
            "last_sign_at": self.last_sign_at,
        }


def primary_failures(records: RunRecords) -> tuple[Failure, ...]:
    """Failures that began a gang's end, oldest first; workers that merely obeyed the abort marker are left out."""
    own = [failure for failure in records.failures.values() if failure.kind is not FailureKind.ABORTED]
    told = [abort.failure for abort in records.aborts.values() if abort.failure is not None]
    found = {(f.event.segment, f.event.attempt, f.event.stage, f.event.replica): f for f in [*told, *own]}
    whole = [explained(failure, records.manifest, records.progress.get(worker)) for worker, failure in found.items()]
    return tuple(sorted(whole, key=lambda failure: (failure.at, failure.event.stage, failure.event.replica)))


def why_it_ended(last: Commit, manifest: Manifest) -> str:
    """Of a run whose last commit ended it before its last iteration."""
    if last.reason is EndReason.BUDGET:
        budget = manifest.spending.budget_usd or 0.0
        return (
            f"the budget is used up: {last.spent_usd:.6g} of {budget:.6g} USD are spent, and going on could pass it. "
            "Resume it under a manifest with a budget of its own."
        )
    return "stopped by its owner, after a checkpoint"


def losses(records: RunRecords) -> dict[int, float]:
    """Loss of each iteration (from 0) of finished segments: the sum of the last stage's replicas' shares."""
    last = len(records.manifest.stages) - 1
    shares: dict[int, dict[int, list[float]]] = {}
    for (segment, attempt, stage, _), summary in sorted(records.summaries.items()):
        if stage == last:
            gang = shares.setdefault(segment * 1_000 + attempt, {})
            for iteration, share in enumerate(summary.losses, start=summary.first_iteration):
                gang.setdefault(iteration, []).append(share)
    replicas = records.manifest.stages[last].replicas
    whole: dict[int, float] = {}
    for _, gang in sorted(shares.items()):
        whole |= {iteration: sum(parts) for iteration, parts in gang.items() if len(parts) == replicas}
    return whole


def worker_seconds(records: RunRecords, now: float) -> dict[Worker, float]:
    """How long each worker has run, in s: to its end where that is known, else to its last sign or to ``now``."""
    seconds = {worker: summary.ended_at - summary.started_at for worker, summary in records.summaries.items()}
    for worker, progress in records.progress.items():
        if worker in seconds:
            continue
        failure = records.failures.get(worker)
        end = failure.at if failure else now if now - progress.updated_at < FRESH_S else progress.updated_at
        seconds[worker] = max(0.0, end - progress.started_at)
    return seconds


def usd_so_far(records: RunRecords, now: float) -> float:
    """What the workers' time would cost on Lambda at the manifest's price, up to now: USD."""
    manifest = records.manifest
    quantity = sum(
        gb_seconds(manifest.stages[stage].memory_mb, seconds)
        for (_, _, stage, _), seconds in worker_seconds(records, now).items()
    )
    price = manifest.spending.prices.usd_per_gb_s
    return bill([lambda_compute(quantity, manifest.architecture, price)]).total_usd


class StatusReader:
    """Turns records into a status, again and again; remembers earlier ones to tell the rate of progress."""

    def __init__(self, records: RunRecords) -> None:
        self.records = records
        self._seen: deque[tuple[float, int]] = deque(maxlen=_RATE_WINDOW)

    def read(self, now: float) -> RunStatus:
        """Fetches what is new and returns the status at Unix time ``now``. Raises as ``RunRecords.refresh``."""
        records, manifest = self.records, self.records.manifest
        records.refresh()
        done = self._iterations_done()
        # Start-up is no part of the rate: the first observation is of the first iterations done.
        if done and (not self._seen or self._seen[-1][1] != done):
            self._seen.append((now, done))
        loss, approximate = self._loss()
        state, message = self._state(done)
        ended = state in (RunState.DONE, RunState.FAILED, RunState.STOPPED)
        signs = [progress.updated_at for progress in records.progress.values()]
        signs += [summary.ended_at for summary in records.summaries.values()]
        return RunStatus(
            run=records.run,
            state=state,
            iterations_done=done,
            iterations_total=manifest.iterations,
            committed_iteration=records.committed_iteration,
            loss=loss,
            loss_is_approximate=approximate,
            segment=records.segment,
            segments=self._segments(),
            attempt=records.attempt,
            stages=self._stages(now),
            eta_s=None if ended else self._seconds_per_iteration() * (manifest.iterations - done),
            usd_so_far=usd_so_far(records, now),
            failures=primary_failures(records),
            message=message,
            last_sign_at=max(signs, default=None),
        )

    def _gang(self) -> list[list[Worker]]:
        """The workers that the gang under way should have, by stage."""
        records = self.records
        return [
            [(records.segment, records.attempt, index, replica) for replica in range(stage.replicas)]
            for index, stage in enumerate(records.manifest.stages)
        ]

    def _segments(self) -> int:
        """Segments in all, as far as can be told: those done, and as many as the plan predicts for the rest."""
        records, manifest = self.records, self.records.manifest
        left = manifest.iterations - records.committed_iteration
        done = max(records.commits, default=0)
        return max(records.segment + 1, done + -(-left // manifest.segment.iterations))

    def _iterations_done(self) -> int:
        records = self.records
        done = []
        for worker in (worker for stage in self._gang() for worker in stage):
            if worker in records.summaries:
                done.append(records.summaries[worker].end_iteration)
            else:
                done.append(records.progress[worker].iteration if worker in records.progress else 0)
        # A worker can only have done an iteration when all have done the one before; progress is written once a second.
        return max(records.committed_iteration, min(done), max(done) - 1)

    def _loss(self) -> tuple[float | None, bool]:
        """The newest loss, and whether it sums shares of different iterations."""
        records = self.records
        known = losses(records)
        newest = max(known, default=-1)
        current = [records.progress.get(worker) for worker in self._gang()[-1]]
        if all(progress is not None and progress.loss is not None for progress in current):
            iterations = {progress.iteration for progress in current if progress}
            if min(iterations) - 1 > newest:
                return sum(progress.loss or 0.0 for progress in current if progress), len(iterations) > 1
        return known.get(newest), False

    def _state(self, done: int) -> tuple[RunState, str | None]:
        records = self.records
        if records.committed_iteration >= records.manifest.iterations:
            return RunState.DONE, None
        commit = records.last_commit
        if commit is not None and commit.reason is not None and not commit.reason.goes_on:
            return RunState.STOPPED, why_it_ended(commit, records.manifest)
        gang = (records.segment, records.attempt)
        if abort := records.aborts.get(gang):
            if abort.reason == "stopped":
                return RunState.STOPPED, abort.message
            # Until the next attempt leaves its first record, the run is between two.
            if not (abort.retryable and records.attempt + 1 < records.manifest.segment.attempts):
                return RunState.FAILED, self._explained(abort)
            return RunState.RUNNING, None
        for failure in primary_failures(records):
            if (failure.event.segment, failure.event.attempt) == gang and not failure.kind.retryable:
                return RunState.FAILED, failure.error
        if done or records.gangs:
            return RunState.RUNNING, None
        return RunState.STARTING, None

    def _explained(self, abort: Abort) -> str:
        if abort.failure is None or abort.failure.kind is not FailureKind.DIED:
            return abort.message
        worker = abort.failure.event
        progress = self.records.progress.get((worker.segment, worker.attempt, worker.stage, worker.replica))
        return explained(abort.failure, self.records.manifest, progress).error

    def _stages(self, now: float) -> tuple[StageStatus, ...]:
        records = self.records
        found = []
        for index, workers in enumerate(self._gang()):
            finished = sum(worker in records.summaries for worker in workers)
            fresh = sum(
                worker not in records.summaries
                and worker not in records.failures
                and worker in records.progress
                and now - records.progress[worker].updated_at < FRESH_S
                for worker in workers
            )
            found.append(StageStatus(index, alive=fresh, finished=finished, expected=len(workers)))
        return tuple(found)

    def _seconds_per_iteration(self) -> float:
        """As seen lately; as predicted while too little has been seen."""
        if len(self._seen) > 1:
            (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
            return (last_at - first_at) / (last - first)
        return self.records.manifest.predicted.iteration_s
