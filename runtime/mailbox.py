"""Sending to and awaiting objects of one gang: back-off, deadlines, the outcome, deletion by the consumer."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

from runtime import keys
from runtime.arrivals import UNKNOWN, Look, Wait
from runtime.codec import Bundle, MalformedObject, Outgoing, decode, encode, layout
from runtime.errors import FuncpipeError
from runtime.outcome import aborted_by, read_outcome
from runtime.pacing import RANGE_BYTES, range_count
from runtime.store import Data, KeyNotFound, Store

OUTCOME_POLL_S = 1.0


class Stalled(FuncpipeError):
    """An awaited object did not appear in time."""


class Cancelled(FuncpipeError):
    """Another lane of this worker failed; that lane's exception is the cause to report."""


class Arrival:
    """Of an object: says to whoever awaits the next one that it is there, and since when."""

    def __init__(self) -> None:
        self._found = threading.Event()
        self._at_s = 0.0

    def tell(self, at_s: float) -> None:
        """It has been found, and came ``at_s`` on the worker's clock."""
        self._at_s = at_s
        self._found.set()

    def wait(self, within_s: float) -> float | None:
        """When it came; None where it has not been found ``within_s``."""
        return self._at_s if self._found.wait(within_s) else None


@dataclass(frozen=True)
class Turn:
    """An object's place among those that one lane awaits; objects arrive about in that order.

    Args:
        before: of the object before this one; None for the first.
        look: says when it is likely to be there, after that; it is asked again then, as by then more is known.
        learn: is told how it was awaited, when it is found; says when it came.
        arrival: to be told then: the next one is asked for while this one's bytes still come.
    """

    before: Arrival | None = None
    look: Callable[[], Look] = lambda: UNKNOWN
    learn: Callable[[Wait], float] = lambda wait: wait.asked_s
    arrival: Arrival = field(default_factory=Arrival)

    def found(self, wait: Wait) -> None:
        """The object is there."""
        self.arrival.tell(self.learn(wait))


@dataclass(frozen=True)
class Awaited:
    """Bytes that were awaited, and how many seconds until they were found."""

    data: Data
    waited_s: float


@dataclass(frozen=True)
class Received:
    """An object that was awaited: its content and size, seconds until it was found, and how many objects it was."""

    bundle: Bundle
    bytes: int
    waited_s: float = 0.0
    ranges: int = 1


Parallel = Callable[[list[Callable[[], object]]], object]
"""Calls all of them, several at a time, and returns when all are done."""


def _joined(first: Data, size: int, rest: Iterable[Data]) -> bytearray:
    """Ranges in memory of their own; each is let go as soon as it is there."""
    whole = bytearray(size)
    whole[: len(first)] = first
    at = len(first)
    del first
    for part in rest:
        whole[at : at + len(part)] = part
        at += len(part)
    if at != size:
        raise MalformedObject(f"an object of {size} bytes has come as {at}")
    return whole


class Mailbox:
    """One worker's view of storage.

    Args:
        stage: the worker's stage.
        inboxes: by stage number, of the worker's own and the neighbouring stages.
        artifacts: the artifact store.
        gang: names of this gang's objects.
        stall_timeout_s: how long one object may be awaited.
        deadline: ``clock()`` at which the worker must have given up.
        clock, unix_time, sleep: time, for tests; by default real, and cut short when a lane fails.
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
        unix_time: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.artifacts, self.gang = artifacts, gang
        self._own, self._inboxes = inboxes[stage], inboxes
        self._stall_timeout_s, self._deadline, self._clock = stall_timeout_s, deadline, clock
        self._unix_time = unix_time
        self._cancelled = threading.Event()
        self._sleep = sleep or self._cancelled.wait
        self._poll_lock = threading.Lock()
        self._next_poll = clock() + OUTCOME_POLL_S

    def send(self, stage: int, key: str, bundle: Outgoing, parallel: Parallel | None = None) -> int:
        """Puts an object into a stage's inbox; returns its size in bytes.

        With ``parallel``, which makes several requests at once, a large one is put as several (``keys.ranges``).
        """
        body, inbox = encode(bundle), self._inboxes[stage]
        if parallel is None or len(body) <= RANGE_BYTES:
            inbox.put(key, body)
            return len(body)
        begin, end = layout(body)
        cuts = [0, *range(begin + RANGE_BYTES, end, RANGE_BYTES), end]
        parallel(
            [
                partial(inbox.put, name, memoryview(body)[first:last])
                for name, (first, last) in zip(keys.ranges(key, len(cuts) - 1), pairwise(cuts), strict=True)
            ]
        )
        return len(body)

    def receive(
        self, key: str, turn: Turn | None = None, rest: Callable[[list[str]], Iterable[Data]] | None = None
    ) -> Received:
        """Awaits an object in the worker's own inbox and leaves it there; ``turn`` as in ``wait``.

        ``rest`` awaits the further ranges of one that was sent as several, and gives them in order.

        Raises:
            GangAborted, Stalled, Cancelled: it will not come.
            MalformedObject: it is damaged.
        """
        awaited = self.wait_own(key, turn)
        data, count = awaited.data, 1
        if rest is not None and len(data) > RANGE_BYTES:
            begin, end = layout(data)
            count = range_count(end - begin)
            if count > 1:
                data = _joined(data, end, rest(keys.ranges(key, count)[1:]))
        return Received(decode(data), len(data), awaited.waited_s, count)

    def discard(self, key: str, ranges: int = 1) -> None:
        """Deletes a consumed object of the worker's own inbox, of as many ranges as it was received in."""
        for name in keys.ranges(key, ranges):
            self._own.delete(name)

    def sweep(self, prefix: str) -> None:
        """Deletes what the worker's own inbox holds below ``prefix``."""
        for key in list(self._own.list(prefix)):
            self._own.delete(key)

    def wait_own(self, key: str, turn: Turn | None = None) -> Awaited:
        """``wait`` for bytes in the worker's own inbox."""
        return self.wait(self._own, key, turn)

    def wait(self, store: Store, key: str, turn: Turn | None = None) -> Awaited:
        """The object, as soon as it is there. Raises as ``receive``.

        Every GET of an absent object is paid for: without a turn it is asked for at growing pauses from now on, with
        one as ``runtime.arrivals`` says.
        """
        turn = turn or Turn()
        begin = self._clock()
        look, looks = turn.look(), 0
        missed: float | None = None
        answer_s: float | None = None
        if look.after_s < 0:
            looks, missed = 1, begin
            if (data := self._ask(store, key, turn, Wait(look, looks, begin, None, begin))) is not None:
                return Awaited(data, 0.0)
            answer_s = self._clock() - begin
        since = max(begin, self._await_turn(turn))
        if not looks:
            look = turn.look()
        self._pause(since + look.after_s - self._clock(), self._give_up_at(since))
        pause = look.pause_s
        while True:
            asked, looks = self._clock(), looks + 1
            wait = Wait(look, looks, begin, since, asked, missed, answer_s=answer_s)
            if (data := self._ask(store, key, turn, wait)) is not None:
                return Awaited(data, asked - begin)
            missed, answer_s = asked, self._clock() - asked
            self.check()
            now = self._clock()
            if now >= self._give_up_at(since):
                raise Stalled(
                    f"the object {key} did not appear within {now - since:.0f} s (stall_timeout_s: "
                    f"{self._stall_timeout_s:g}, life time left: {max(0.0, self._deadline - now):.0f} s); its sender "
                    "is slower than planned, or gone. See the failures and logs of the other workers."
                )
            self._pause(asked + pause - now, self._give_up_at(since))
            pause = look.next_pause_s(pause, asked + pause - since, now - since)

    def _ask(self, store: Store, key: str, turn: Turn, wait: Wait) -> Data | None:
        """The object, or None; where it is there, ``turn`` is told of the ``wait`` for it, as soon as that is known."""
        told = False

        def found(there_at: float | None) -> None:
            nonlocal told
            if not told:
                told = True
                since_s = None if there_at is None else self._clock() - (self._unix_time() - there_at)
                turn.found(replace(wait, told_s=since_s))

        try:
            data = store.get(key, within_s=max(0.0, self._deadline - self._clock()), found=found)
        except KeyNotFound:
            return None
        found(None)
        return data

    def _give_up_at(self, since: float) -> float:
        return min(since + self._stall_timeout_s, self._deadline)

    def _await_turn(self, turn: Turn) -> float:
        """Returns when it is the object's turn; since when it is."""
        if turn.before is None:
            return 0.0
        while (at_s := turn.before.wait(OUTCOME_POLL_S)) is None:
            self.check()
        return at_s

    def _pause(self, seconds: float, give_up_at: float) -> None:
        """Waits, with an eye on the attempt's outcome and no longer than to ``give_up_at``."""
        end = min(self._clock() + seconds, give_up_at)
        while (left := end - self._clock()) > 0 and not self._cancelled.is_set():
            self._sleep(min(left, OUTCOME_POLL_S))
            if left > OUTCOME_POLL_S:
                self.check()

    def check(self) -> None:
        """Looks for the attempt's outcome, at most once a second over all lanes. Raises GangAborted or Cancelled."""
        if self._cancelled.is_set():
            raise Cancelled("another lane of this worker failed")
        with self._poll_lock:
            if self._clock() < self._next_poll:
                return
            self._next_poll = self._clock() + OUTCOME_POLL_S
        if (outcome := read_outcome(self.artifacts, self.gang)) is not None:
            raise aborted_by(outcome, "the segment is committed already")

    def cancel(self) -> None:
        """Makes every waiting lane of this worker give up at once."""
        self._cancelled.set()
