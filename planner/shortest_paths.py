"""Shortest paths of stages between a model's boundaries: by one cost, and by one within a limit of another."""

from math import inf

import numpy

BINS = 128
"""Parts of the limit, which are told apart."""


def _edges(boundaries: int, pair: numpy.ndarray, costs: numpy.ndarray) -> numpy.ndarray:
    """[ways to weigh, first boundary, end]: the least of each interval's stages."""
    edges = numpy.full((len(costs), boundaries * boundaries), inf)
    begins = numpy.flatnonzero(numpy.diff(pair, prepend=-1))
    if len(begins):
        edges[:, pair[begins]] = numpy.minimum.reduceat(costs, begins, axis=1)
    return edges.reshape(len(costs), boundaries, boundaries)


def least_before(boundaries: int, pair: numpy.ndarray, costs: numpy.ndarray) -> numpy.ndarray:
    """Costs [ways to weigh, boundaries] of the shortest paths from the first boundary to each.

    Args:
        pair: of each stage its first boundary · ``boundaries`` + its end, ascending.
        costs: [ways to weigh, stages].
    """
    return _before(_edges(boundaries, pair, costs))


def least(boundaries: int, pair: numpy.ndarray, costs: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """``least_before``, and likewise from each boundary to the last one."""
    edges = _edges(boundaries, pair, costs)
    behind = numpy.full((len(costs), boundaries), inf)
    behind[:, -1] = 0.0
    for node in reversed(range(boundaries - 1)):
        behind[:, node] = (edges[:, node, node + 1 :] + behind[:, node + 1 :]).min(axis=1)
    return _before(edges), behind


def _before(edges: numpy.ndarray) -> numpy.ndarray:
    before = numpy.full(edges.shape[:2], inf)
    before[:, 0] = 0.0
    for node in range(1, edges.shape[1]):
        before[:, node] = (before[:, :node] + edges[:, :node, node]).min(axis=1)
    return before


def least_within(
    boundaries: int, pair: numpy.ndarray, rate: numpy.ndarray, path_s: numpy.ndarray, room_s: float
) -> float:
    """The least rate of a path whose seconds are at most ``room_s``, or less than it; infinite where there is none.

    Seconds are rounded down to a part of that.

    Args:
        pair: as ``least_before``.
    """
    fitting = numpy.flatnonzero(path_s <= room_s)
    order = fitting[numpy.lexsort((path_s[fitting], rate[fitting], pair[fitting]))]
    pair, rate, path_s = pair[order], rate[order], path_s[order]
    # Of each interval, those that no other one betters in both: from each to the next the seconds become fewer.
    group = numpy.cumsum(numpy.diff(pair, prepend=-1) > 0)
    shortest = numpy.minimum.accumulate(path_s - 2.0 * room_s * group)
    better = numpy.flatnonzero(numpy.diff(shortest, prepend=inf) < 0)
    pair, rate, path_s = pair[better], rate[better], path_s[better]
    first, end = numpy.divmod(pair, boundaries)
    taken = numpy.floor(path_s / room_s * BINS * (1 - 1e-12)).astype(int)
    by_end = numpy.argsort(end, kind="stable")
    begins = numpy.searchsorted(end[by_end], numpy.arange(boundaries + 1))
    # Of each boundary, by how much of the room is used at most; before that, what would be less than nothing.
    known = numpy.full((boundaries, 2 * BINS + 2), inf)
    known[0, BINS + 1 :] = 0.0
    columns = numpy.arange(BINS + 1) + BINS + 1
    for node in range(1, boundaries):
        rows = by_end[begins[node] : begins[node + 1]]
        if len(rows):
            before = known[first[rows, None], columns - taken[rows, None]]
            known[node, BINS + 1 :] = (before + rate[rows, None]).min(axis=0)
    return float(known[-1, -1])
