"""What a replay of a plan's steps finds, and the rates that it keeps to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

RECORDED = 4
"""Iterations of which every step's begin and end is kept: the first ones."""


@dataclass(frozen=True)
class Replay:
    """What a replay found. Seconds since its start."""

    begins: list[numpy.ndarray]
    ends: list[numpy.ndarray]
    """By step, of the first RECORDED iterations."""
    finished: list[float]
    """The end of each iteration."""
    period: int | None
    """Iterations after which everything repeats, proven; None where no such number was met."""
    iteration_s: float
    """Of an iteration in the steady state."""


@dataclass(frozen=True)
class RateLimits:
    """Requests per second by gate, and how many seconds' worth may come at once."""

    per_s: dict[int, float]
    burst_s: float = 1.0

    def allows(self, gate: int, arrivals: numpy.ndarray) -> bool:
        """Whether requests at these seconds pass without waiting (the generic cell rate algorithm's test)."""
        interval = 1 / self.per_s[gate]
        moments = numpy.sort(arrivals)
        count = numpy.arange(len(moments))
        allotted = numpy.maximum.accumulate(moments - count * interval) + (count + 1) * interval
        return bool(numpy.all(allotted - moments <= self.burst_s + interval))


def pace(finished: Sequence[float]) -> float:
    """Seconds from one iteration's end to the next; the first half, in which the pipeline fills, does not count."""
    if len(finished) == 1:
        return finished[0]
    half = (len(finished) - 1) // 2
    return (finished[-1] - finished[half]) / (len(finished) - 1 - half)
