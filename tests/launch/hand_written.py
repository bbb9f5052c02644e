"""Runs written by hand, record by record, so that tests know what must be read from them."""

from runtime import keys
from runtime.manifest import Manifest
from runtime.records import Abort, Commit, EndReason, Failure, Progress, Traffic, WorkerEvent, WorkerSummary
from runtime.store import Store

RUN = "by-hand"


def event(manifest: Manifest, stage: int, replica: int = 0, segment: int = 0, attempt: int = 0) -> WorkerEvent:
    return WorkerEvent(
        run=RUN,
        segment=segment,
        attempt=attempt,
        stage=stage,
        replica=replica,
        manifest_sha256=manifest.sha256,
        commit=f"{segment - 1}-0" if segment else keys.INITIAL,
    )


def put_manifest(store: Store, manifest: Manifest) -> None:
    store.put(keys.manifest(RUN), manifest.to_json().encode())


def put_commit(store: Store, manifest: Manifest, number: int, reason: EndReason = EndReason.TIME) -> None:
    """The commit after ``number`` segments of the predicted length."""
    done = min(number * manifest.segment.iterations, manifest.iterations)
    ended = EndReason.FINISHED if done == manifest.iterations else reason
    commit = Commit(
        number=number,
        base=None if number == 0 else f"{number - 2}-0" if number > 1 else keys.INITIAL,
        iteration=done,
        layers=[f"{keys.INITIAL}/{'e' * 64}"] * manifest.layer_count,
        reason=ended if number else None,
        billed_s=10.0 * number,
        spent_usd=0.001 * number,
        at=1000.0 + number,
    )
    store.put(keys.commit(RUN, commit.name), commit.model_dump_json().encode())


def put_progress(
    store: Store,
    stage: int,
    replica: int,
    iteration: int,
    *,
    loss: float | None = None,
    segment: int = 0,
    attempt: int = 0,
    started_at: float = 1000.0,
    updated_at: float = 1010.0,
) -> None:
    progress = Progress(
        stage=stage,
        replica=replica,
        segment=segment,
        attempt=attempt,
        iteration=iteration,
        loss=loss,
        started_at=started_at,
        updated_at=updated_at,
    )
    key = keys.GangKeys(RUN, segment, attempt).progress(stage, replica)
    store.put(key, progress.model_dump_json().encode())


def put_summary(
    store: Store,
    manifest: Manifest,
    stage: int,
    replica: int = 0,
    *,
    segment: int = 0,
    losses: list[float] | None = None,
    started_at: float = 1000.0,
    iteration_ends: list[float] | None = None,
    ended_at: float = 1010.0,
    peak_memory_mb: float = 300.0,
    traffic: Traffic | None = None,
    request_id: str = "local-1",
) -> None:
    begin = segment * manifest.segment.iterations
    iterations = range(begin, min(begin + manifest.segment.iterations, manifest.iterations))
    summary = WorkerSummary(
        event=event(manifest, stage, replica, segment),
        started_at=started_at,
        ended_at=ended_at,
        first_iteration=iterations.start,
        end_iteration=iterations.stop,
        iteration_ends=iteration_ends or [started_at + 1 + index for index in range(len(iterations))],
        losses=losses or [],
        peak_memory_mb=peak_memory_mb,
        traffic=traffic or Traffic(),
        request_id=request_id,
    )
    key = keys.GangKeys(RUN, segment, 0).summary(stage, replica)
    store.put(key, summary.model_dump_json().encode())


def put_failure(store: Store, failure: Failure) -> None:
    worker = failure.event
    key = keys.GangKeys(RUN, worker.segment, worker.attempt).failure(worker.stage, worker.replica)
    store.put(key, failure.model_dump_json().encode())


def put_abort(store: Store, abort: Abort, segment: int = 0, attempt: int = 0) -> None:
    store.put(keys.GangKeys(RUN, segment, attempt).outcome, abort.model_dump_json().encode())


def an_abort(message: str, failure: Failure | None = None, *, retryable: bool = False, at: float = 1005.0) -> Abort:
    """By a worker that failed, or, without one, by the run's owner."""
    reason = "failure" if failure else "stopped"
    return Abort(reason=reason, retryable=retryable, message=message, failure=failure, begun_at=1000.0, at=at)


def a_failure(
    manifest: Manifest, stage: int = 1, replica: int = 0, kind: str = "exception", at: float = 1005.0
) -> Failure:
    return Failure(
        event=event(manifest, stage, replica),
        kind=kind,  # type: ignore[arg-type]
        iteration=3,
        instruction="B2",
        error=f"ValueError: of stage {stage}",
        traceback='Traceback (most recent call last):\n  File "model.py", line 8, in forward\nValueError: bad',
        at=at,
    )
