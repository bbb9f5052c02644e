"""When a worker finds an awaited object: after the very rule that workers follow (``runtime.arrivals``).

Workers look for an object when earlier iterations say that it is due, and each look takes a request's latency:

    turn ──── look.after_s ────► GET ─ latency ─► not there ── pause ──► GET ─ latency ─► there: found
                                                     ▲ arrival

The rule has its own ups and downs, which other workers wait for in turn; so it is followed object by object.
"""

from dataclasses import dataclass

from planner.graph import Awaited
from runtime.arrivals import Arrivals, Look
from runtime.keys import in_iteration


@dataclass(frozen=True)
class Found:
    """When an object was found, what is then learnt as the wait for it (as ``runtime.mailbox.Awaited``), and how many
    looks it took."""

    at_s: float
    due_s: float | None
    looks: int


def find(look: Look, latency_s: float, *, issued_s: float, turn_s: float, arrived_s: float) -> Found:
    """One wait as ``runtime.mailbox`` does it: requested, at its turn, and there at these moments."""
    looks, since = 0, max(issued_s, turn_s)
    missed: float | None = None
    if look.after_s < 0:
        looks = 1
        if arrived_s <= issued_s + latency_s:
            return Found(issued_s + latency_s, None, looks)
        missed = since = max(issued_s + latency_s, turn_s)
    pause_s = look.pause_s
    asked = since + max(0.0, look.after_s)
    while True:
        looks += 1
        now = asked + latency_s
        if arrived_s <= now:
            came_s = asked if missed is None else (missed + asked) / 2
            return Found(now, came_s - since, looks)
        missed, due_s = asked, asked + pause_s
        asked = max(now, due_s)
        pause_s = look.next_pause_s(pause_s, due_s - since, now - since)


Wait = tuple[int, int]
"""(iteration, step of the search)"""


def _key(wait: Wait, awaited: Awaited) -> str:
    """Of the object in its iteration: a series ends with it."""
    return in_iteration(awaited.key, wait[0])


class Searches:
    """What all workers of a plan have learnt, as a replay goes on."""

    def __init__(self, iteration_s: float = 0.0) -> None:
        self._iteration_s = iteration_s
        self._arrivals: dict[int, Arrivals] = {}
        self._looks: dict[Wait, Look] = {}
        self._found: dict[Wait, Found] = {}
        self.in_vain: dict[int, int] = {}
        """By lane: looks that found nothing."""

    def request(self, wait: Wait, awaited: Awaited) -> None:
        """The object is asked for: now it is settled whether it is looked for before its turn."""
        arrivals = self._arrivals.setdefault(awaited.lane, Arrivals(self._iteration_s))
        self._looks[wait] = arrivals.look(_key(wait, awaited), awaited.follows)

    def search(self, wait: Wait, awaited: Awaited, *, issued_s: float, turn_s: float, arrived_s: float) -> float:
        """When the object is found."""
        if self._looks[wait].after_s >= 0:  # by now, at its turn, more is known
            self._looks[wait] = self._arrivals[awaited.lane].look(_key(wait, awaited), awaited.follows)
        found = find(self._looks[wait], awaited.latency_s, issued_s=issued_s, turn_s=turn_s, arrived_s=arrived_s)
        self._found[wait] = found
        self.in_vain[awaited.lane] = self.in_vain.get(awaited.lane, 0) + found.looks - 1
        return found.at_s

    def learn(self, wait: Wait, awaited: Awaited) -> None:
        """The object has been received: the next wait for it goes by this one."""
        look, found = self._looks.pop(wait), self._found.pop(wait)
        answer_s = awaited.latency_s if found.looks > 1 else None
        key = _key(wait, awaited)
        self._arrivals[awaited.lane].learn(key, look, found.looks, found.due_s, awaited.follows, answer_s)
