"""Ending a run before its end: no new worker starts, and those at work give up."""

import time

from launch.deployment import stop_execution
from launch.run_records import RunRecords
from runtime import keys
from runtime.outcome import decide
from runtime.records import Abort, Commit
from runtime.store import Store


def stop_run(records: RunRecords, execution_arn: str | None) -> None:
    """Stops the execution, if the run has one, and aborts the attempt under way.

    Stopping an execution does not end the functions it has invoked: the attempt's outcome does.

    Raises:
        FuncpipeError: AWS cannot be asked.
    """
    message = "stopped by `funcpipe stop`"
    if execution_arn is not None:
        stop_execution(execution_arn, message)
    abort_run(records.store, records.run, records.manifest.segment.attempts, message)
    records.refresh()


def save_and_stop(store: Store, run: str) -> None:
    """Asks the gang under way to end its segment now, with a checkpoint, and the run with it."""
    store.put(keys.stop(run), b"{}")


def abort_run(store: Store, run: str, attempts: int, message: str) -> None:
    """Aborts the attempt under way, or the one that would be next: no gang can go on from here.

    Attempts that have an outcome keep it, so the next open one is looked for, as the workflow would choose it.
    """
    gang = keys.GangKeys(run, 0, 0)
    known = [found for key in store.list(keys.outcomes_prefix(run)) if (found := keys.parse_outcome(run, key))]
    if known:
        gang = max(known, key=lambda found: (found.segment, found.attempt))
    while True:
        now = time.time()
        wanted = Abort(reason="stopped", retryable=False, message=message, begun_at=now, at=now)
        match decide(store, gang, wanted):
            case Commit(reason=reason) if reason is not None and reason.goes_on:
                gang = keys.GangKeys(run, gang.segment + 1, 0)
            case Abort(retryable=True) if gang.attempt + 1 < attempts:
                gang = keys.GangKeys(run, gang.segment, gang.attempt + 1)
            case _:  # our own word, or the run has ended by itself
                return
