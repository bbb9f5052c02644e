"""Which rows of figures are as good as which, within groups of rows: figure by figure, where less is better."""

from collections.abc import Iterator

import numpy

Column = numpy.ndarray
_BLOCK = 1 << 22
"""Pairs of rows that are compared at once."""


def places(group: Column) -> Column:
    """Each row's place in its group, in the order of the rows; ``group`` numbers each row's."""
    order = numpy.argsort(group, kind="stable")
    place = numpy.empty_like(group)
    place[order] = numpy.arange(len(group)) - numpy.searchsorted(group[order], group[order])
    return place


def table(figures: numpy.ndarray, group: Column, place: Column, groups: int) -> numpy.ndarray:
    """[figures, groups, places] of [figures, rows]; infinite where a group has fewer rows than the largest."""
    found = numpy.full((len(figures), groups, int(place.max(initial=0)) + 1), numpy.inf)
    found[:, group, place] = figures
    return found


def as_good(better: numpy.ndarray, worse: numpy.ndarray) -> Iterator[tuple[slice, numpy.ndarray]]:
    """Some groups at a time of two tables: whether [group, row of ``worse``, row of ``better``] the latter is no worse
    in any figure."""
    step = max(1, _BLOCK // (better.shape[2] * worse.shape[2]))
    for begin in range(0, better.shape[1], step):
        groups = slice(begin, begin + step)
        found = numpy.ones((worse[0, groups].shape[0], worse.shape[2], better.shape[2]), dtype=bool)
        for good, bad in zip(better[:, groups], worse[:, groups], strict=True):
            found &= good[:, None, :] <= bad[:, :, None]
        yield groups, found


def undominated(group: Column, figures: numpy.ndarray) -> Column:
    """Rows, ascending, that none of their group is as good as in every figure; the first of equals stay."""
    _, number = numpy.unique(group, return_inverse=True)
    place = places(number)
    compared = table(figures.T, number, place, int(number.max(initial=-1)) + 1)
    earlier = numpy.tri(compared.shape[2], k=-1, dtype=bool)
    worse = numpy.zeros(compared.shape[1:], dtype=bool)
    for groups, good in as_good(compared, compared):
        worse[groups] = (good & (~good.transpose(0, 2, 1) | earlier)).any(axis=2)
    return numpy.flatnonzero(~worse[number, place])
