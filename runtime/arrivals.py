"""When an awaited object is likely to be there, learnt from the waits for the same object of earlier iterations.

A GET that comes too soon is paid for, and one that comes late delays the worker. So the first GET comes when the object
was there in most of the last iterations, and later ones follow at pauses of the order of what those waits differed by:

    the object before it was found         first look         2nd    3rd         4th
    ├──────────────── look_s ──────────────────┤── pause_s ────┤──────┤───────────┤
              waits of the last iterations   ▲ ▲▲  ▲▲▲    ▲▲
                                                  └ LOOK_SHARE of them
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from runtime.pacing import (
    FIRST_LOOKS,
    FIRST_PAUSE_S,
    FORGETTING,
    LONGEST_PAUSE_S,
    LOOK_SHARE,
    REMEMBERED,
    SLOWED,
    SOONER,
    SOONER_DOUBLINGS,
)


@dataclass(frozen=True)
class Look:
    """When to look for an object, counted from its turn: when the object before it was found, or from its own request.

    Args:
        after_s: the first time; not above 0 where it is likely to be there before its turn, and is asked for at once.
        pause_s: until the second time.
    """

    after_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S


UNKNOWN = Look()
"""Where nothing has been learnt yet."""


@dataclass
class _Past:
    """What is known of one object.

    Args:
        first_s: the wait of the first iteration.
        waits: the last ones, without that.
        streak: how many of them ended at the first look, without a break.
    """

    first_s: float
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    streak: int = 0

    def add(self, look: Look, looks: int, waited_s: float) -> None:
        if looks > 1:
            self.streak = 0
            self.waits.append(waited_s)
            return
        share = SOONER * 2 ** min(self.streak, SOONER_DOUBLINGS)
        self.waits.append(max(look.after_s - max(FIRST_PAUSE_S / 2, share * look.after_s), -FIRST_PAUSE_S))
        self.streak += 1
        while self.streak >= FORGETTING and len(self.waits) > REMEMBERED - FORGETTING:
            self.waits.popleft()


class Arrivals:
    """What a worker knows of the objects it awaits in every iteration. Several threads may use it.

    Args:
        iteration_s: as planned; it says how often to look in the first iteration. 0 where there is no plan.
    """

    def __init__(self, iteration_s: float = 0.0) -> None:
        self._lock = threading.Lock()
        unknown_s = min(max(FIRST_PAUSE_S, iteration_s / FIRST_LOOKS), LONGEST_PAUSE_S)
        self._unknown = Look(0.0, unknown_s)
        self._pasts: dict[str, _Past] = {}

    def look(self, name: str) -> Look:
        """When to look for the object that is called ``name`` in every iteration."""
        with self._lock:
            past = self._pasts.get(name)
            waits = sorted(past.waits) if past else []
        if not waits:
            hint_s = SLOWED * past.first_s if past else 0.0
            return Look(hint_s, hint_s / 2) if hint_s > FIRST_PAUSE_S else self._unknown
        last = len(waits) - 1
        usual, early = waits[round(LOOK_SHARE * last)], waits[round((1 - LOOK_SHARE) * last)]
        return Look(usual, max(FIRST_PAUSE_S, usual - early, SOONER * usual))

    def learn(self, name: str, look: Look, looks: int, waited_s: float) -> None:
        """``name`` came ``waited_s`` after its turn, as far as the ``looks`` at it tell, which were made as said.

        Its first wait is no measure but a hint: in a worker's first iteration much is done for the first time.
        """
        with self._lock:
            if name in self._pasts:
                self._pasts[name].add(look, looks, waited_s)
            else:
                self._pasts[name] = _Past(max(0.0, waited_s))
