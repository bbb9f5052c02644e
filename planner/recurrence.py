"""When each step of a plan's graph begins and ends where workers share nothing: exactly, over any number of iterations.

A step ends at

    x_k[i] = duration[i] + max over needs (j, a) of x_{k-a}[j]

the recurrence of a max-plus linear system (Baccelli, Cohen, Olsder, Quadrat: Synchronization and Linearity, 1992): its
state is the last few iterations, and shifting the state shifts everything after it. So when a state recurs but for a
shift, what lies between repeats for ever, and all later iterations are known without replaying them. Ticks are whole
numbers, hence "recurs" is equality, not nearness. Such a recurrence comes after finitely many iterations when all
workers depend on each other; until it comes, iterations are replayed one by one.
"""

from collections import deque
from dataclasses import dataclass

import numpy

from planner.graph import TICKS_PER_S, Steps
from planner.replayed import RECORDED, RateLimits, Replay, pace

LONGEST_PERIOD = 12
"""Recurrences of at most so many iterations are looked for."""


class _Levels:
    """The graph in the order of its needs within an iteration; a level's steps need only those of levels before it."""

    def __init__(self, steps: Steps) -> None:
        self.count = len(steps.durations)
        self.memory = max((ago for needs in steps.needs for _, ago in needs), default=0)
        """Iterations that the recurrence looks back."""
        durations = numpy.array(steps.durations, dtype=numpy.int64)
        self.levels: list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]] = []
        for level in _by_level(steps):
            gathered = [ago * self.count + step for number in level for step, ago in steps.needs[number]]
            sizes = [len(steps.needs[number]) for number in level]
            starts = numpy.concatenate(([0], numpy.cumsum(sizes)[:-1]))
            numbers = numpy.array(level)
            self.levels.append((numbers, numpy.array(gathered), starts, durations[numbers]))

    def advance(self, window: numpy.ndarray) -> None:
        """Fills row 0 of ``window`` (this iteration) from itself and the rows below (1 iteration ago, 2, ...)."""
        flat, now = window.reshape(-1), window[0]
        for numbers, gathered, starts, durations in self.levels:
            now[numbers] = numpy.maximum.reduceat(flat[gathered], starts) + durations


def _by_level(steps: Steps) -> list[list[int]]:
    waiting = [sum(ago == 0 for _, ago in needs) for needs in steps.needs]
    needed_by: list[list[int]] = [[] for _ in steps.needs]
    for number, needs in enumerate(steps.needs):
        assert needs, "every step follows another one, if only of an iteration before"
        for step, ago in needs:
            if ago == 0:
                needed_by[step].append(number)
    levels = []
    level = [number for number, count in enumerate(waiting) if count == 0]
    while level:
        levels.append(level)
        following = []
        for number in level:
            for other in needed_by[number]:
                waiting[other] -= 1
                if waiting[other] == 0:
                    following.append(other)
        level = following
    assert not any(waiting), "the schedule waits for itself"
    return levels


@dataclass
class _History:
    """The last iterations' rows, newest first."""

    rows: deque[numpy.ndarray]

    def recurrence(self, memory: int) -> tuple[int, int] | None:
        """(iterations, ticks) after which the state recurs, or None."""
        for period in range(1, LONGEST_PERIOD + 1):
            if len(self.rows) < period + memory:
                return None
            shift = int(self.rows[0][0] - self.rows[period][0])
            if all(bool((self.rows[at] - self.rows[at + period] == shift).all()) for at in range(memory)):
                return period, shift
        return None


def replay_unshared(steps: Steps, iterations: int, limits: RateLimits | None = None) -> Replay | None:
    """The replay where workers share nothing; None where a rate limit, if there are any, would make a request wait."""
    levels = _Levels(steps)
    durations = numpy.array(steps.durations, dtype=numpy.int64)
    gates = _Arrivals(steps, limits)
    memory = max(1, levels.memory)
    window = numpy.zeros((memory + 1, levels.count), dtype=numpy.int64)
    history = _History(deque(maxlen=LONGEST_PERIOD + memory))
    recorded: list[numpy.ndarray] = []
    finished: list[int] = []
    found = None
    while len(finished) < iterations and found is None:
        window[1:] = window[:-1].copy()
        levels.advance(window)
        row = window[0].copy()
        finished.append(int(row.max()))
        if len(recorded) < RECORDED:
            recorded.append(row)
        gates.note(row - durations)
        history.rows.appendleft(row)
        found = history.recurrence(memory)
    if found is None:
        period, iteration_s = None, pace([ticks / TICKS_PER_S for ticks in finished])
    else:
        period, shift = found
        iteration_s = shift / period / TICKS_PER_S
        for at in range(len(finished), iterations):
            finished.append(finished[at - period] + shift)
        for at in range(len(recorded), min(RECORDED, iterations)):
            recorded.append(recorded[at - period] + shift)
        gates.repeat(period, shift)
    if not gates.pass_freely():
        return None
    return Replay(
        begins=[(row - durations) / TICKS_PER_S for row in recorded],
        ends=[row / TICKS_PER_S for row in recorded],
        finished=[ticks / TICKS_PER_S for ticks in finished],
        period=period,
        iteration_s=iteration_s,
    )


class _Arrivals:
    """When requests reach each rate limit."""

    def __init__(self, steps: Steps, limits: RateLimits | None) -> None:
        self._limits = limits
        numbers: dict[int, list[int]] = {}
        for number, gate in enumerate(steps.gate):
            if gate is not None and limits is not None and gate in limits.per_s:
                numbers.setdefault(gate, []).append(number)
        self._steps = {gate: numpy.array(at) for gate, at in numbers.items()}
        self._moments: dict[int, list[numpy.ndarray]] = {gate: [] for gate in numbers}

    def note(self, begins: numpy.ndarray) -> None:
        """One more iteration, ticks."""
        for gate, at in self._steps.items():
            self._moments[gate].append(begins[at])

    def repeat(self, period: int, shift: int) -> None:
        """Twice the period more, in which a backlog that grows shows."""
        for moments in self._moments.values():
            for _ in range(2 * period):
                moments.append(moments[-period] + shift)

    def pass_freely(self) -> bool:
        return all(
            self._limits is None or self._limits.allows(gate, numpy.concatenate(moments) / TICKS_PER_S)
            for gate, moments in self._moments.items()
        )
