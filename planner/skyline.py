"""Which of many rows of figures no other is as good as, where less is better.

Rows go by the sum of their figures, each as a share of its range: one that is as good in every figure comes before
those that it beats, and the first few rows beat most of the others (sort-filter-skyline: J. Chomicki, P. Godfrey,
J. Gryz and D. Liang, "Skyline with Presorting", ICDE 2003).
"""

from collections.abc import Callable

import numpy

_NOISE = 12
"""Last bits of a figure's 52 that tell nothing: 5e-13 of it, for each stage."""
_BLOCK = 512
"""Rows that are looked at together: with those kept before..."""
_FIRST = 64
"""... of which so many come first, then twice as many for those that are left, and so on..."""
_MOST = 2048
"""... up to this number at once."""


def rounded(figures: numpy.ndarray) -> numpy.ndarray:
    """Without the last bits, which differ between sums of the same stages in another order: layers that are all the
    same make very many of these."""
    bits = numpy.ascontiguousarray(figures).view(numpy.int64)
    return ((bits + (1 << (_NOISE - 1))) >> _NOISE << _NOISE).view(numpy.float64)


def undominated(rows: numpy.ndarray, rivals: int, late: Callable[[], bool] = lambda: False) -> numpy.ndarray | None:
    """Numbers of the rows that fewer than ``rivals`` others are as good as in all columns; the first of equals stay.

    None when it is ``late`` before all are compared: that takes as long as the square of their number.

    Args:
        rows: finite figures.
    """
    least, most = rows.min(axis=0), rows.max(axis=0)
    telling = numpy.flatnonzero(least < most)
    rows = rows[:, telling]
    shares = (rows - least[telling]) / (most[telling] - least[telling])
    order = numpy.lexsort((*rows.T[::-1], shares.sum(axis=1)))
    columns = numpy.ascontiguousarray(rows[order].T)
    kept = numpy.empty_like(columns)
    numbers: list[numpy.ndarray] = []
    count = 0
    for begin in range(0, len(rows), _BLOCK):
        if late():
            return None
        left = numpy.arange(begin, min(begin + _BLOCK, len(rows)))
        others = numpy.zeros(len(left), dtype=int)
        at, size = 0, _FIRST
        while at < count and len(left):
            others += _as_good(kept[:, at : min(count, at + size)], columns[:, left])
            left, others = left[others < rivals], others[others < rivals]
            at, size = at + size, min(2 * size, _MOST)
        part = columns[:, left]
        left = left[others + _as_good(part, part, earlier=True) < rivals]
        kept[:, count : count + len(left)] = columns[:, left]
        count += len(left)
        numbers.append(order[left])
    return numpy.sort(numpy.concatenate(numbers)) if numbers else numpy.zeros(0, dtype=int)


def _as_good(kept: numpy.ndarray, columns: numpy.ndarray, earlier: bool = False) -> numpy.ndarray:
    """How many of ``kept`` are as good in every figure as each of some rows; of these themselves, the ``earlier``."""
    shape = (columns.shape[1], kept.shape[1])
    good = numpy.tri(*shape, k=-1, dtype=bool) if earlier else numpy.ones(shape, dtype=bool)
    for better, worse in zip(kept, columns, strict=True):
        good &= better <= worse[:, None]
    return numpy.count_nonzero(good, axis=1)
