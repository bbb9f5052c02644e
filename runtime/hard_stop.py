"""Ends a worker that has to stop and does not: its computing thread may be in one layer of the user's for minutes.

    the attempt is aborted ─┐
                            ├─► seen within a poll ─► all waits give up ─► still there after GRACE_S: told, and ended
    a lane has failed ──────┘                                          └─► it has stopped by itself: nothing is done

A thread beside the lanes looks, so the worker stops in time whatever it is at. It cannot interrupt the user's code: it
ends the process, which costs Lambda's environment and nothing that counts, as the attempt is lost anyway. Only a call
that keeps Python's interpreter lock to itself delays it; torch's operations do not.
"""

import threading
from collections.abc import Callable

from runtime.mailbox import OUTCOME_POLL_S

GRACE_S = 5.0
"""How long a worker may take to stop by itself: so much of a layer is left to it, and its last words."""


class HardStop:
    """``start``, then ``stop`` when the worker has ended by itself, or must not be ended any more.

    Args:
        look: raises what makes the worker stop, if there is anything; as ``Mailbox.check``.
        found: is given what ``look`` raised, at once; makes the worker's waits give up.
        end: is given the same, GRACE_S later, if the worker is still there: tells of it, and ends the process.
    """

    def __init__(
        self,
        look: Callable[[], None],
        found: Callable[[BaseException], None],
        end: Callable[[BaseException], None],
        *,
        poll_s: float = OUTCOME_POLL_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self._look, self._found, self._end = look, found, end
        self._poll_s, self._grace_s = poll_s, grace_s
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="hard-stop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """From now on the process is not ended; if that is under way already, it does not return. May be repeated."""
        with self._lock:
            self._stopped.set()

    def _watch(self) -> None:
        cause: BaseException | None = None
        while cause is None and not self._stopped.wait(self._poll_s):
            try:
                self._look()
            except Exception as error:  # whatever it is, the worker cannot go on
                cause = error
        if cause is None:
            return
        self._found(cause)
        if self._stopped.wait(self._grace_s):
            return
        with self._lock:
            if not self._stopped.is_set():
                self._end(cause)
