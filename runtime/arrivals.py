"""When an awaited object is likely to be there, learnt from the waits for the same object of earlier iterations.

A GET that comes too soon is paid for, and one that comes late delays the worker, and whoever waits for it. Objects come
in series: the activations of one iteration, one behind the other, then its gradients. The first of a series answers
something that happened elsewhere, and each moment that it lies there delays the whole gang; those that follow it come
at the pace of links. So the first is looked for closely, from the earliest of the last waits on:

    the object before it came         first look  2nd  3rd  4th          5th
    ├─────────────── after_s ────────────┤─ pause_s ┤────┤────┤────────────┤
                                                    until_s ▲
                    waits of the last iterations  ▲  ▲▲ ▲

Stores tell when an object came, so a wait is learnt as it was and not as it was seen: whoever looks too late once is
not too late the next time. Else what one is late by would be a part of the waits that others learn, and go round.

One that follows another is looked for once, when it was there in most of the last iterations; in the first two, after
the mean of the waits for those before it. What was there when it was requested is asked for at once the next time.
"""

import math
import threading
from collections import deque
from dataclasses import dataclass, field

from runtime import keys
from runtime.pacing import (
    ANSWER_SHARE,
    CLOCK_SHARE,
    CLOSE_LOOKS,
    CLOSE_SHARE,
    FIRST_LOOKS,
    FIRST_PAUSE_S,
    LATEST,
    LONGEST_PAUSE_S,
    LOOK_PRICE_S,
    LOOK_SHARE,
    PAUSE_GROWTH,
    PAUSE_SHARE,
    RECENT,
    REMEMBERED,
    SECOND_LOOK_SHARE,
    SECOND_PAUSE_SHARE,
)


@dataclass(frozen=True)
class Look:
    """When to look for an object, counted from when the object before it came, or from its own request, if later.

    Args:
        after_s: the first time; below 0 where it is likely to be there when it is requested, and is asked for at once.
        pause_s: from a look to the next one.
        until_s: so long pauses stay as they are; then they grow.
    """

    after_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    until_s: float = 0.0

    def next_pause_s(self, pause_s: float, asked_s: float, waited_s: float) -> float:
        """After one of ``pause_s`` until ``asked_s``; ``waited_s`` have passed."""
        if asked_s <= self.until_s:
            return pause_s
        return min(pause_s * PAUSE_GROWTH, max(LONGEST_PAUSE_S, self.pause_s, LATEST * waited_s))


UNKNOWN = Look()
"""Where nothing has been learnt yet."""


@dataclass(frozen=True)
class Wait:
    """How an object was awaited. Moments are seconds on the worker's clock.

    Args:
        look: when it was to be looked for,
        looks: and how often it was; the last time it was there.
        issued_s: when it was requested.
        since_s: what ``look`` counts from; None: it was found before its turn.
        asked_s: when the last look began.
        missed_s: when the last one in vain began; None: there was none.
        told_s: when it came, by its store; None where that does not know.
        answer_s: seconds that the last look in vain took; None: there was none.
    """

    look: Look
    looks: int
    issued_s: float
    since_s: float | None
    asked_s: float
    missed_s: float | None = None
    told_s: float | None = None
    answer_s: float | None = None


THERE_S = -1.0
"""Stands for the wait for an object that was there when it was requested."""


@dataclass
class _Past:
    """What is known of one object.

    Args:
        first_s: the wait of the first iteration.
        waits: the last ones, without that.
    """

    first_s: float
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def look(self, follows: bool, least_s: float) -> Look:
        """When to look; pauses last ``least_s`` at least."""
        waits, recent = sorted(self.waits), sorted(list(self.waits)[-RECENT:])
        last = len(waits) - 1
        usual, early = waits[round(LOOK_SHARE * last)], waits[round((1 - LOOK_SHARE) * last)]
        low, high = recent[0], recent[-2 if len(recent) == RECENT else -1]  # one may come late for once
        if (usual if follows else high) < 0:
            return Look(THERE_S, least_s)
        if follows:
            return Look(usual, max(least_s, usual - max(0.0, early), PAUSE_SHARE * usual))
        low = max(0.0, low)
        spread = high - low
        # Where waits are short, the price of a look would say a pause beyond the latest of them.
        pause = max(min(math.sqrt(LOOK_PRICE_S * spread), spread), spread / CLOSE_LOOKS, CLOSE_SHARE * low, least_s)
        return Look(low, pause, high + pause)


@dataclass
class _Cadence:
    """Of a series: the mean of the last few waits for those that followed another, in its last iteration.

    Args:
        there: how many in a row, up to the last one, were there when they were requested.
    """

    series: str
    mean_s: float = 0.0
    count: int = 0
    there: int = 0

    @property
    def piled_up(self) -> bool:
        """Whether the next one is likely to be there, too: this side is the slower one."""
        return self.there >= RECENT

    def add(self, waited_s: float) -> None:
        self.count = min(self.count + 1, RECENT)
        self.mean_s += (max(0.0, waited_s) - self.mean_s) / self.count
        self.there = self.there + 1 if waited_s < 0 else 0


@dataclass
class _Clock:
    """Of who sends a series: how much later than this worker's own looks say it is, on average."""

    offset_s: float = 0.0

    def came_s(self, wait: Wait) -> float:
        """When the object came, on this worker's clock: after the last look in vain, and before the one that found it;
        within that, as its store says."""
        if wait.told_s is None:
            return wait.asked_s if wait.missed_s is None else (wait.missed_s + wait.asked_s) / 2
        told_s = wait.told_s - self.offset_s
        came_s = min(wait.asked_s, told_s if wait.missed_s is None else max(wait.missed_s, told_s))
        self.offset_s += CLOCK_SHARE * (told_s - came_s)
        return came_s


class Arrivals:
    """What a worker knows of the objects it awaits in every iteration. Several threads may use it.

    Args:
        iteration_s: as planned; it says how often to look in the first iteration, and no wait of the second one is
            guessed to be longer. 0 where there is no plan.
    """

    def __init__(self, iteration_s: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._iteration_s = iteration_s or math.inf
        self._unknown = Look(0.0, max(FIRST_PAUSE_S, iteration_s / FIRST_LOOKS))
        self._answer_s: float | None = None
        self._pasts: dict[str, _Past] = {}
        self._cadences: dict[str, _Cadence] = {}
        self._clocks: dict[str, _Clock] = {}
        """Both by series."""

    @property
    def _least_s(self) -> float:
        """Of a pause: a look that is due before the last one is answered is made late anyway."""
        return max(FIRST_PAUSE_S, self._answer_s or 0.0)

    def look(self, key: str, follows: bool = False) -> Look:
        """When to look for ``key``, which comes right behind another of its series if it ``follows``."""
        series = keys.series(key)
        with self._lock:
            past = self._pasts.get(keys.of_every_iteration(key))
            cadence = self._cadences.get(keys.of_every_iteration(series)) if follows else None
            if cadence is not None and cadence.series == series and cadence.piled_up:
                return Look(THERE_S, self._least_s)
            if past is not None and past.waits:
                return past.look(follows, self._least_s)
            guess_s = min(past.first_s, self._iteration_s) if past else 0.0
            if guess_s > 0 and not follows:
                return Look(SECOND_LOOK_SHARE * guess_s, SECOND_PAUSE_SHARE * guess_s, guess_s)
            if cadence is None:
                return self._unknown
            return Look(cadence.mean_s, max(FIRST_PAUSE_S, cadence.mean_s / 2))

    def learn(self, key: str, wait: Wait, follows: bool = False) -> float:
        """``key`` has been found after ``wait``; returns when it came, on the worker's clock.

        Its first wait is no measure but a hint: in a worker's first iteration much is done for the first time.
        """
        series = keys.series(key)
        name, of_series = keys.of_every_iteration(key), keys.of_every_iteration(series)
        with self._lock:
            if wait.answer_s is not None:
                known_s = wait.answer_s if self._answer_s is None else self._answer_s
                self._answer_s = known_s + ANSWER_SHARE * (wait.answer_s - known_s)
            came_s = self._clocks.setdefault(of_series, _Clock()).came_s(wait)
            there = wait.since_s is None or came_s <= wait.issued_s
            waited_s = THERE_S if there else max(0.0, came_s - wait.since_s)
            if (past := self._pasts.get(name)) is None:
                self._pasts[name] = _Past(max(0.0, waited_s))
            else:
                past.waits.append(waited_s)
            if follows:
                cadence = self._cadences.get(of_series)
                if cadence is None or cadence.series != series:
                    cadence = self._cadences[of_series] = _Cadence(series)
                cadence.add(waited_s)
            return came_s
