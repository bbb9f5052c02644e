"""When a worker finds an awaited object: after the very rule that workers follow (``runtime.arrivals``).

Workers look for an object when earlier iterations say that it is due, and each look takes a request's latency:

    turn ──── look.after_s ────► GET ─ latency ─► not there ── pause ──► GET ─ latency ─► there: found
                                                     ▲ arrival

The rule has its own ups and downs, which other workers wait for in turn; so it is followed object by object.
"""

from dataclasses import dataclass, replace

from planner.graph import Awaited
from runtime.arrivals import Arrivals, Look, Wait
from runtime.keys import in_iteration


@dataclass(frozen=True)
class Found:
    """When an object was found, and after which wait."""

    at_s: float
    wait: Wait


def find(look: Look, latency_s: float, *, issued_s: float, turn_s: float, since_s: float, arrived_s: float) -> Found:
    """One wait as ``runtime.mailbox`` does it.

    Args:
        issued_s: when the object was requested.
        turn_s: when the object before it was found,
        since_s: and when that one had come.
        arrived_s: when this one is there; the store tells.
    """
    since_s = max(issued_s, since_s)
    looks, missed_s = 0, None
    asked_s = max(issued_s, turn_s)
    if look.after_s < 0:
        if arrived_s <= issued_s + latency_s:
            return Found(issued_s + latency_s, Wait(look, 1, issued_s, None, issued_s, None, arrived_s))
        looks, missed_s = 1, issued_s
        asked_s = max(asked_s, issued_s + latency_s)
    asked_s = max(asked_s, since_s + look.after_s)
    pause_s = look.pause_s
    while True:
        looks += 1
        now = asked_s + latency_s
        if arrived_s <= now:
            answer_s = None if missed_s is None else latency_s
            return Found(now, Wait(look, looks, issued_s, since_s, asked_s, missed_s, arrived_s, answer_s))
        missed_s, due_s = asked_s, asked_s + pause_s
        asked_s = max(now, due_s)
        pause_s = look.next_pause_s(pause_s, due_s - since_s, now - since_s)


class Searches:
    """What all workers of a plan have learnt, as a replay goes on. A search is (iteration, step)."""

    def __init__(self, iteration_s: float = 0.0) -> None:
        self._iteration_s = iteration_s
        self._arrivals: dict[int, Arrivals] = {}
        self._came_s: dict[int, float] = {}
        """Both by lane; of the last object that was found."""
        self._looks: dict[tuple[int, int], Look] = {}
        self.in_vain: dict[int, int] = {}
        """By lane: looks that found nothing."""

    def request(self, search: tuple[int, int], awaited: Awaited) -> None:
        """The object is asked for: now it is settled whether it is looked for before its turn."""
        arrivals = self._arrivals.setdefault(awaited.lane, Arrivals(self._iteration_s))
        self._looks[search] = arrivals.look(in_iteration(awaited.key, search[0]), awaited.follows)

    def search(
        self, search: tuple[int, int], awaited: Awaited, *, issued_s: float, turn_s: float, arrived_s: float
    ) -> float:
        """When the object is found; the next wait for it goes by this one."""
        arrivals, key = self._arrivals[awaited.lane], in_iteration(awaited.key, search[0])
        look = self._looks.pop(search)
        if look.after_s >= 0:  # by now, at its turn, more is known
            look = arrivals.look(key, awaited.follows)
            look = replace(look, after_s=max(0.0, look.after_s))
        found = find(
            look,
            awaited.latency_s,
            issued_s=issued_s,
            turn_s=turn_s,
            since_s=self._came_s.get(awaited.lane, 0.0),
            arrived_s=arrived_s,
        )
        self._came_s[awaited.lane] = arrivals.learn(key, found.wait, awaited.follows)
        self.in_vain[awaited.lane] = self.in_vain.get(awaited.lane, 0) + found.wait.looks - 1
        return found.at_s
