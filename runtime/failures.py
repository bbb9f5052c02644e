"""From the exception that ended a worker to the records that explain it and make its gang stop."""

import time
import traceback

from runtime.checkpoint import Diverged
from runtime.errors import FuncpipeError
from runtime.keys import GangKeys
from runtime.mailbox import Stalled
from runtime.outcome import GangAborted, decide
from runtime.records import Abort, Failure, FailureKind, WorkerEvent
from runtime.store import Store, StoreUnavailable

_KINDS = (
    (GangAborted, FailureKind.ABORTED),
    (Stalled, FailureKind.STALLED),
    (StoreUnavailable, FailureKind.STORAGE),
    (Diverged, FailureKind.DIVERGED),
    (BaseException, FailureKind.EXCEPTION),
)


def failure_of(event: WorkerEvent, position: tuple[int | None, str | None], error: BaseException) -> Failure:
    """The record of a worker that ``error`` ended at ``position`` (iteration and instruction)."""
    iteration, instruction = position
    expected = isinstance(error, FuncpipeError)
    return Failure(
        event=event,
        kind=next(kind for type_, kind in _KINDS if isinstance(error, type_)),
        iteration=iteration,
        instruction=instruction,
        error=f"{type(error).__name__}: {error}",
        traceback="" if expected else "".join(traceback.format_exception(error)),
        at=time.time(),
    )


def leave(failure: Failure, artifacts: Store, gang: GangKeys, begun_at: float) -> None:
    """Makes the gang stop, and leaves the failure's record."""
    if failure.kind is not FailureKind.ABORTED:
        abort = Abort(
            reason="failure",
            retryable=failure.kind.retryable,
            message=message_of(failure),
            failure=failure,
            begun_at=begun_at,
            at=failure.at,
        )
        decide(artifacts, gang, abort)
    record = gang.failure(failure.event.stage, failure.event.replica)
    artifacts.put(record, failure.model_dump_json().encode())


def message_of(failure: Failure) -> str:
    """Who failed, where, and why, in one line."""
    event = failure.event
    return (
        f"stage {event.stage}, replica {event.replica}, segment {event.segment}, attempt {event.attempt}, "
        f"iteration {failure.iteration}, instruction {failure.instruction}: {failure.error}"
    )
