"""Sending to and awaiting objects of one gang: back-off, deadlines, the abort marker, deletion by the consumer."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime import keys
from runtime.codec import Bundle, decode, encode
from runtime.errors import FuncpipeError
from runtime.pacing import FIRST_LOOK, FIRST_PAUSE_S, LONGEST_PAUSE_S, PAUSE_GROWTH
from runtime.records import Abort
from runtime.store import Data, KeyNotFound, Store

ABORT_POLL_S = 1.0


class GangAborted(FuncpipeError):
    """Another worker of the gang failed, or the run's owner stopped it."""


class Stalled(FuncpipeError):
    """An awaited object did not appear in time."""


class Cancelled(FuncpipeError):
    """Another lane of this worker failed; that lane's exception is the cause to report."""


@dataclass(frozen=True)
class Turn:
    """An object's place among those that one lane awaits; objects arrive about in that order.

    Args:
        before: set when the object before this one has arrived; None for the first.
        expected_s: how long this object is likely to be awaited after that.
    """

    before: threading.Event | None = None
    expected_s: float = 0.0


@dataclass(frozen=True)
class Awaited:
    """Bytes that were awaited, and for how long they were not there: in all, and since it was their turn."""

    data: Data
    waited_s: float
    due_s: float


@dataclass(frozen=True)
class Received:
    """An object that was awaited: its content, its size, and the waits as in ``Awaited``."""

    bundle: Bundle
    bytes: int
    waited_s: float
    due_s: float


class Mailbox:
    """One worker's view of storage.

    Args:
        stage: the worker's stage.
        inboxes: by stage number, of the worker's own and the neighbouring stages.
        artifacts: the artifact store.
        gang: names of this gang's objects.
        stall_timeout_s: how long one object may be awaited.
        deadline: ``clock()`` at which the worker must have given up.
        clock, sleep: time, for tests; by default real, and cut short when a lane fails.
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
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.artifacts, self.gang = artifacts, gang
        self._own, self._inboxes = inboxes[stage], inboxes
        self._stall_timeout_s, self._deadline, self._clock = stall_timeout_s, deadline, clock
        self._cancelled = threading.Event()
        self._sleep = sleep or self._cancelled.wait
        self._abort_lock = threading.Lock()
        self._next_abort_poll = clock() + ABORT_POLL_S

    def send(self, stage: int, key: str, bundle: Bundle) -> int:
        """Puts an object into a stage's inbox; returns its size in bytes."""
        body = encode(bundle)
        self._inboxes[stage].put(key, body)
        return len(body)

    def receive(self, key: str, turn: Turn | None = None) -> Received:
        """Awaits an object in the worker's own inbox and leaves it there; ``turn`` as in ``wait``.

        Raises:
            GangAborted, Stalled, Cancelled: it will not come.
        """
        awaited = self.wait(self._own, key, turn)
        return Received(decode(awaited.data), len(awaited.data), awaited.waited_s, awaited.due_s)

    def discard(self, key: str) -> None:
        """Deletes a consumed object of the worker's own inbox."""
        self._own.delete(key)

    def wait(self, store: Store, key: str, turn: Turn | None = None) -> Awaited:
        """The object, as soon as it is there. Raises as ``receive``.

        Every GET of an absent object is paid for. So before its turn an object is asked for once, and not even that
        when it was late the last time; at its turn, most of the time that it is expected to take passes first.
        """
        begin = since = self._clock()
        if turn is not None:
            if turn.expected_s <= FIRST_PAUSE_S and (data := self._ask(store, key)) is not None:
                return Awaited(data, 0.0, 0.0)
            since = self._await_turn(turn)
            self._pause(FIRST_LOOK * turn.expected_s, self._give_up_at(since))
        pause = FIRST_PAUSE_S
        while True:
            asked = self._clock()
            if (data := self._ask(store, key)) is not None:
                return Awaited(data, asked - begin, asked - since)
            self.check()
            now = self._clock()
            if now >= self._give_up_at(since):
                raise Stalled(
                    f"the object {key} did not appear within {now - since:.0f} s (stall_timeout_s: "
                    f"{self._stall_timeout_s:g}, life time left: {max(0.0, self._deadline - now):.0f} s); its sender "
                    "is slower than planned, or gone. See the failures and logs of the other workers."
                )
            self._pause(pause, self._give_up_at(since))
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_S)

    @staticmethod
    def _ask(store: Store, key: str) -> Data | None:
        try:
            return store.get(key)
        except KeyNotFound:
            return None

    def _give_up_at(self, since: float) -> float:
        return min(since + self._stall_timeout_s, self._deadline)

    def _await_turn(self, turn: Turn) -> float:
        """Returns when it is the object's turn; the time at which it became so."""
        while turn.before is not None and not turn.before.wait(ABORT_POLL_S):
            self.check()
        return self._clock()

    def _pause(self, seconds: float, give_up_at: float) -> None:
        """Waits, with an eye on the abort marker and no longer than to ``give_up_at``."""
        end = min(self._clock() + seconds, give_up_at)
        while (left := end - self._clock()) > 0 and not self._cancelled.is_set():
            self._sleep(min(left, ABORT_POLL_S))
            if left > ABORT_POLL_S:
                self.check()

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
