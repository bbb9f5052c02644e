"""When an awaited object is likely to be there, learnt from the waits for the same object of earlier iterations.

A GET that comes too soon is paid for, and one that comes late delays the worker, and whoever waits for it. Objects come
in series: the activations of one iteration, one behind the other, then its gradients. The first of a series answers
something that happened elsewhere, and each moment that it lies there delays the whole gang; those that follow it come
at the pace of links. So the first is looked for closely, from the earliest of the last waits on:

    the object before it was found    first look  2nd  3rd  4th          5th
    ├─────────────── after_s ────────────┤─ pause_s ┤────┤────┤────────────┤
                                                    until_s ▲
                    waits of the last iterations  ▲  ▲▲ ▲

A look in vain also tells from when on the object was there; where there was none, the next iteration looks sooner. But
workers wait for each other: what one is late by makes the waits of others longer, who learn that. So in the second
iteration all of them look early, to learn how long they wait if nobody is late (``runtime.pacing``).

One that follows another is looked for once, when it was there in most of the last iterations; in the first two, after
the mean of the waits for those before it. Where several in a row were there at the first look, after short waits, the
next one is asked for at its turn; where several were there at their turn, before it: else each would cost a request's
latency.
"""

import math
import threading
from collections import deque
from dataclasses import dataclass, field

from runtime import keys
from runtime.pacing import (
    ANSWER_SHARE,
    CLOSE_LOOKS,
    CLOSE_SHARE,
    EARLY_S,
    FIRST_LOOKS,
    FIRST_PAUSE_S,
    LATEST,
    LONGEST_PAUSE_S,
    LOOK_ANSWERS,
    LOOK_PRICE_S,
    LOOK_SHARE,
    PAUSE_GROWTH,
    PAUSE_SHARE,
    PROMPT,
    RECENT,
    REMEMBERED,
    SECOND_LOOK_SHARE,
    SECOND_PAUSE_SHARE,
    SHORT_S,
    SOONER,
    SOONER_CLOSELY,
    SOONER_DOUBLINGS,
    SOONER_THAN_SERIES,
)


@dataclass(frozen=True)
class Look:
    """When to look for an object, counted from its turn: when the object before it was found, or from its own request.

    Args:
        after_s: the first time; below 0 where it is likely to be there before its turn, and is asked for at once.
        pause_s: from a look to the next one.
        until_s: so long pauses stay as they are; then they grow.
    """

    after_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    until_s: float = 0.0

    @property
    def closely(self) -> bool:
        """Whether the object is likely to be found by one of several looks, and not by the first one."""
        return self.until_s > self.after_s

    def next_pause_s(self, pause_s: float, asked_s: float, waited_s: float) -> float:
        """After one of ``pause_s`` until ``asked_s``; ``waited_s`` have passed."""
        if asked_s <= self.until_s:
            return pause_s
        return min(pause_s * PAUSE_GROWTH, max(LONGEST_PAUSE_S, self.pause_s, LATEST * waited_s))


UNKNOWN = Look()
"""Where nothing has been learnt yet."""


@dataclass
class _Past:
    """What is known of one object.

    Args:
        first_s: the wait of the first iteration.
        waits: the last ones, without that.
        streak: how many of the last ones ended at the first look, without a break.
        latest_s: the last of them that did; it was there by then.
    """

    first_s: float
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    streak: int = 0
    latest_s: float = 0.0

    def add(self, look: Look, looks: int, waited_s: float) -> None:
        if looks > 1:
            self.streak = 0
            self.waits.append(waited_s)
        elif look.closely:
            sooner_s = max(look.pause_s, SOONER_CLOSELY * waited_s) * 2**self.streak
            latest_s = max(0.0, waited_s - sooner_s)
            self.waits = deque((min(wait, latest_s) for wait in [*self.waits, latest_s]), maxlen=REMEMBERED)
            self.streak += 1
            self.latest_s = waited_s
        else:
            sooner_s = max(FIRST_PAUSE_S / 2, SOONER * waited_s) * 2 ** min(self.streak // 2, SOONER_DOUBLINGS)
            if waited_s <= FIRST_PAUSE_S / 2:  # it was there at its turn; since when, looks before its turn will tell
                waited_s, sooner_s = min(self.waits, default=0.0), FIRST_PAUSE_S / 2
            self.waits.append(max(waited_s - sooner_s, -EARLY_S))
            self.streak += 1
            while len(self.waits) > max(1, REMEMBERED - self.streak):
                self.waits.popleft()

    def look(self, follows: bool, price_s: float, least_s: float) -> Look:
        """When to look.

        Args:
            price_s: of a look, as in ``LOOK_PRICE_S``.
            least_s: the shortest pause.
        """
        recent = sorted(list(self.waits)[-RECENT:])
        low, high = recent[0], recent[-2 if len(recent) == RECENT else -1]  # one may come late for once
        if self.streak:
            high = max(high, self.latest_s)
        if not follows and low > -EARLY_S:
            low = max(low, 0.0)
            spread = high - low
            # Where waits are short, the price of a look would say a pause beyond the latest of them.
            pause = max(min(math.sqrt(price_s * spread), spread), spread / CLOSE_LOOKS, CLOSE_SHARE * low)
            pause = max(pause, least_s)
            return Look(low, pause, high + pause)
        waits = sorted(self.waits)
        last = len(waits) - 1
        usual, early = waits[round(LOOK_SHARE * last)], waits[round((1 - LOOK_SHARE) * last)]
        if usual <= -EARLY_S:
            return Look(usual, PAUSE_SHARE * EARLY_S)
        usual = max(usual, 0.0)
        return Look(usual, max(least_s, usual - early, PAUSE_SHARE * usual))


@dataclass
class _Cadence:
    """Of a series: the mean of the last few waits for those that followed another, in its last iteration.

    Args:
        there: how many in a row, up to the last one, were there at their turn or before it.
        prompt: and how many were there at the first look, when that was.
    """

    series: str
    mean_s: float = 0.0
    count: int = 0
    there: int = 0
    prompt: int = 0

    @property
    def piled_up(self) -> bool:
        """Whether the next one is likely to be there before its turn: this side is the slower one."""
        return self.there >= RECENT

    def add(self, looks: int, waited_s: float) -> None:
        self.count = min(self.count + 1, RECENT)
        self.mean_s += (waited_s * (SOONER_THAN_SERIES if looks == 1 else 1.0) - self.mean_s) / self.count
        self.prompt = self.prompt + 1 if looks == 1 else 0
        self.there = self.there + 1 if looks == 1 and waited_s <= FIRST_PAUSE_S / 2 else 0


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
        """By series."""

    @property
    def _price_s(self) -> float:
        """Of a look, as in ``LOOK_PRICE_S``."""
        return LOOK_PRICE_S if self._answer_s is None else min(LOOK_PRICE_S, LOOK_ANSWERS * self._answer_s)

    @property
    def _least_s(self) -> float:
        """Of a pause: a look that is due before the last one is answered is made late anyway."""
        return max(FIRST_PAUSE_S, self._answer_s or 0.0)

    def look(self, key: str, follows: bool = False) -> Look:
        """When to look for ``key``, which comes right behind another of its series if it ``follows``."""
        with self._lock:
            past = self._pasts.get(keys.of_every_iteration(key))
            cadence, series = self._cadence(key) if follows else (None, "")
            if cadence is not None and cadence.series == series:
                if cadence.piled_up:
                    return Look(-EARLY_S, PAUSE_SHARE * EARLY_S)
                if cadence.prompt >= PROMPT and cadence.mean_s <= SHORT_S:
                    return Look(0.0, max(FIRST_PAUSE_S, cadence.mean_s / 2))
            if past is not None and past.waits:
                return past.look(follows, self._price_s, self._least_s)
            guess_s = min(past.first_s, self._iteration_s) if past else 0.0
            if guess_s > SHORT_S and not follows:
                return Look(SECOND_LOOK_SHARE * guess_s, SECOND_PAUSE_SHARE * guess_s, guess_s)
            if cadence is None:
                return self._unknown
            return Look(cadence.mean_s, max(FIRST_PAUSE_S, cadence.mean_s / 2))

    def learn(
        self,
        key: str,
        look: Look,
        looks: int,
        waited_s: float | None,
        follows: bool = False,
        answer_s: float | None = None,
    ) -> None:
        """``key`` came ``waited_s`` after its turn, or before it (None), as far as ``looks`` made as said tell; the
        last look in vain, if there was one, took ``answer_s``.

        Its first wait is no measure but a hint: in a worker's first iteration much is done for the first time.
        """
        name = keys.of_every_iteration(key)
        with self._lock:
            if answer_s is not None:
                known_s = answer_s if self._answer_s is None else self._answer_s
                self._answer_s = known_s + ANSWER_SHARE * (answer_s - known_s)
            if name not in self._pasts:
                self._pasts[name] = past = _Past(max(0.0, waited_s or 0.0))
            else:
                past = self._pasts[name]
                if waited_s is None:
                    past.waits.append(-EARLY_S)
                else:
                    past.add(look, looks, waited_s)
            if follows:
                cadence, series = self._cadence(key)
                if cadence is None or cadence.series != series:
                    cadence = self._cadences[keys.of_every_iteration(series)] = _Cadence(series)
                cadence.add(looks, max(0.0, waited_s or 0.0))

    def _cadence(self, key: str) -> tuple[_Cadence | None, str]:
        """What is known of the series of ``key``, of this iteration or an earlier one; and the series' name in this."""
        series = keys.series(key)
        return self._cadences.get(keys.of_every_iteration(series)), series
