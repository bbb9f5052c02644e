"""Following a run to its end, whoever executes it: local processes, or a Step Functions execution."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from launch.status import RunState, RunStatus, StatusReader


@dataclass(frozen=True)
class Ending:
    """How the run's executor says it ended; ``message`` is what it gave as the reason."""

    succeeded: bool
    message: str | None = None
    stopped: bool = False


def follow(
    reader: StatusReader,
    ending: Callable[[], Ending | None],
    *,
    poll_s: float,
    clock: Callable[[], float] = time.time,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[RunStatus]:
    """Statuses of a run, one every ``poll_s`` seconds until it has ended; the last one tells how.

    Args:
        ending: asks the executor; None while it is at work.

    Raises:
        FuncpipeError: as ``StatusReader.read`` and ``ending``.
    """
    while True:
        # The executor is asked first: what the workers wrote before it ended is then sure to be read.
        ended = ending()
        status = reader.read(clock())
        if ended is not None:
            yield concluded(status, ended)
            return
        # An executor that has yet to notice the end of its workers keeps the run going, whatever the records say.
        yield replace(status, state=RunState.RUNNING) if status.ended else status
        wait(poll_s)


def concluded(status: RunStatus, ending: Ending) -> RunStatus:
    """The final status of a run whose executor has ended: the records' word if they have one, else the executor's."""
    if status.ended:
        return replace(status, eta_s=None)
    if ending.stopped:
        return replace(status, state=RunState.STOPPED, eta_s=None, message=ending.message)
    word = f"the last failure: {status.failures[-1].error}" if status.failures else "no worker left word of a failure"
    missing = f"{status.committed_iteration} of {status.iterations_total} iterations are saved, and {word}"
    message = f"{ending.message} ({missing})" if ending.message else f"the run ended early: {missing}"
    return replace(status, state=RunState.FAILED, eta_s=None, message=message)
