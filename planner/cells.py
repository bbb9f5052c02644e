"""Parts of all plans between any two layers, by ranges of iteration time and longest queues, and the stages of each."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy

Range = tuple[float, float]


@dataclass(frozen=True)
class Space:
    """Candidates of problems that differ only in schedule and architecture, in the order of intervals; a row each."""

    boundaries: int
    pair: numpy.ndarray
    """first · boundaries + end."""
    rate: numpy.ndarray
    """Objective per second of an iteration."""
    requests: numpy.ndarray
    """Objective whatever the time."""
    forward_s: numpy.ndarray
    path_s: numpy.ndarray
    """Forward and backward; with the closing, of a first stage."""
    closing_s: numpy.ndarray
    forward_queue_s: numpy.ndarray
    backward_queue_s: numpy.ndarray
    own_s: numpy.ndarray
    """An iteration with it takes at least so long."""

    def part(self, rows: numpy.ndarray) -> "Space":
        """The candidates of these numbers, ascending."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        return Space(**{name: each[rows] if isinstance(each, numpy.ndarray) else each for name, each in arrays.items()})


@dataclass(frozen=True)
class Cell:
    """Plans whose iteration time and longest queues lie in ranges. Seconds."""

    space: Space
    seconds: Range
    forward_queue: Range
    backward_queue: Range
    multiplier: float | None = None
    """The best one of what it is a part of (``unmerged``)."""

    @property
    def widths(self) -> tuple[float, float, float]:
        """Of the ranges, as shares of an iteration."""
        least = max(self.seconds[0], 1e-3 * self.seconds[1])
        low, high = zip(self.seconds, self.forward_queue, self.backward_queue, strict=True)
        return tuple((most - some) / least for some, most in zip(low, high, strict=True))

    def part(self, **ranges: Range) -> "Cell | None":
        """With other ranges; None where no plan has them."""
        cell = replace(self, **ranges)
        space = self.space
        fitting = space.own_s <= cell.seconds[1]
        fitting &= space.forward_queue_s <= cell.forward_queue[1]
        fitting &= space.backward_queue_s <= cell.backward_queue[1]
        if not fitting.any():
            return None
        return replace(cell, space=space.part(numpy.flatnonzero(fitting)))

    def halves(self) -> "Iterator[Cell]":
        """Cut in two in the dimension that is widest."""
        space = self.space
        cell = replace(
            self,
            forward_queue=(self.forward_queue[0], min(self.forward_queue[1], float(space.forward_queue_s.max()))),
            backward_queue=(self.backward_queue[0], min(self.backward_queue[1], float(space.backward_queue_s.max()))),
        )
        widths = cell.widths
        name = ("seconds", "forward_queue", "backward_queue")[widths.index(max(widths))]
        low, high = getattr(cell, name)
        middle = (max(low, high / 256) * high) ** 0.5 if name == "seconds" else (low + high) / 2
        for half in ((low, middle), (middle, high)):
            found = cell.part(**{name: half})
            if found is not None and low <= high:
                yield found
