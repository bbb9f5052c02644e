"""Ending a run before its end: no new worker starts, and those at work give up."""

from launch.deployment import stop_execution
from launch.run_records import RunRecords
from runtime.keys import GangKeys
from runtime.records import Abort


def stop_run(records: RunRecords, execution_arn: str | None, now: float) -> None:
    """Stops the execution, if the run has one, and tells the gang under way to abort.

    Stopping an execution does not end the functions it has invoked: the marker does.

    Raises:
        FuncpipeError: AWS cannot be asked.
    """
    message = "stopped by `funcpipe stop`"
    if execution_arn is not None:
        stop_execution(execution_arn, message)
    # Read after the execution has ended: no other gang can follow this one.
    records.refresh()
    marker = Abort(reason="stopped", message=message, at=now)
    key = GangKeys(records.run, records.segment, records.attempt).abort
    records.store.put(key, marker.model_dump_json().encode(), if_absent=True)
