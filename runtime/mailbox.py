"""Sending to and awaiting objects of one gang: back-off, deadlines, the abort marker, deletion by the consumer."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime import keys
from runtime.codec import Bundle, decode, encode
from runtime.errors import FuncpipeError
from runtime.pacing import FIRST_PAUSE_S, LONGEST_PAUSE_S, PAUSE_GROWTH
from runtime.records import Abort
from runtime.store import KeyNotFound, Store

ABORT_POLL_S = 1.0


class GangAborted(FuncpipeError):
    """Another worker of the gang failed, or the run's owner stopped it."""


class Stalled(FuncpipeError):
    """An awaited object did not appear in time."""


class Cancelled(FuncpipeError):
    """Another lane of this worker failed; that lane's exception is the cause to report."""


@dataclass(frozen=True)
class Received:
    """An object that was awaited: its content, its size, and for how long it was not there."""

    bundle: Bundle
    bytes: int
    waited_s: float


class Mailbox:
    """One worker's view of storage.

    Args:
        stage: the worker's stage.
        inboxes: by stage number, of the worker's own and the neighbouring stages.
        artifacts: the artifact store.
        gang: names of this gang's objects.
        stall_timeout_s: how long one object may be awaited.
        deadline: ``clock()`` at which the worker must have given up.
    """

    def __init__(
        self,
        *,
        stage: int,
        inboxes: dict[int, Store],
        artifacts: Store,
        gang: keys.GangKeys,
        stall_timeout_s: float,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.artifacts, self.gang = artifacts, gang
        self._own, self._inboxes = inboxes[stage], inboxes
        self._stall_timeout_s, self._deadline, self._clock = stall_timeout_s, deadline, clock
        self._cancelled = threading.Event()
        self._abort_lock = threading.Lock()
        self._next_abort_poll = clock() + ABORT_POLL_S

    def send(self, stage: int, key: str, bundle: Bundle) -> int:
        """Puts an object into a stage's inbox; returns its size in bytes."""
        body = encode(bundle)
        self._inboxes[stage].put(key, body)
        return len(body)

    def receive(self, key: str, turn: threading.Event | None = None) -> Received:
        """Awaits an object in the worker's own inbox and leaves it there; ``turn`` as in ``wait``.

        Raises:
            GangAborted, Stalled, Cancelled: it will not come.
        """
        data, waited_s = self.wait(self._own, key, turn)
        return Received(decode(data), len(data), waited_s)

    def discard(self, key: str) -> None:
        """Deletes a consumed object of the worker's own inbox."""
        self._own.delete(key)

    def wait(self, store: Store, key: str, turn: threading.Event | None = None) -> tuple[bytes, float]:
        """The object, as soon as it is there, and how long that took. Raises as ``receive``.

        Args:
            turn: set when the object awaited before this one has arrived. Until then this one is asked for only once:
                objects arrive about in order, and every GET of an absent one is paid for.
        """
        begin = since = self._clock()
        pause = FIRST_PAUSE_S
        while True:
            asked = self._clock()
            try:
                return store.get(key), asked - begin
            except KeyNotFound:
                pass
            self.check()
            if turn is not None:
                while not turn.wait(ABORT_POLL_S):
                    self.check()
                turn, since = None, self._clock()
                continue
            now, give_up = self._clock(), min(since + self._stall_timeout_s, self._deadline)
            if now >= give_up:
                raise Stalled(
                    f"the object {key} did not appear within {now - since:.0f} s (stall_timeout_s: "
                    f"{self._stall_timeout_s:g}, life time left: {max(0.0, self._deadline - now):.0f} s); its sender "
                    "is slower than planned, or gone. See the failures and logs of the other workers."
                )
            self._cancelled.wait(min(pause, give_up - now))
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_S)

    def check(self) -> None:
        """Looks for the abort marker, at most once a second over all lanes. Raises GangAborted or Cancelled."""
        if self._cancelled.is_set():
            raise Cancelled("another lane of this worker failed")
        with self._abort_lock:
            if self._clock() < self._next_abort_poll:
                return
            self._next_abort_poll = self._clock() + ABORT_POLL_S
        try:
            abort = Abort.model_validate_json(self.artifacts.get(self.gang.abort))
        except KeyNotFound:
            return
        raise GangAborted(abort.message)

    def cancel(self) -> None:
        """Makes every waiting lane of this worker give up at once."""
        self._cancelled.set()
