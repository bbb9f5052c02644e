"""What need not be searched of several problems: plans that have a counterpart, stage for stage, in another problem.

A wire type with fewer bytes, or an architecture with a lower price, is as good for nearly every stage. Where another
problem has a stage of the same layers and replicas that is as good in all that the objective sees, this one is covered.
A plan of covered stages alone is no better than its counterpart, so it has to have a stage of its problem's *own*.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy

from planner.dominance import as_good, places, table
from planner.options import Options
from runtime.schedule import ScheduleName

_SAMPLE = 61
"""Every so many groups of stages tell which other problem covers the most."""
_WORTH_IT = 0.9
"""Share of own stages, above which it makes no difference that the others are covered."""


def with_own_stages(options: Sequence[Options]) -> list[Options]:
    """Problems that have stages of their own, in their order, with a note which they are.

    A problem is covered by such only as come before it in one order, so that no two cover each other.
    """
    ranked = sorted(range(len(options)), key=lambda number: (*_rank(options[number]), number))
    owns: dict[int, numpy.ndarray] = {}
    for place, number in enumerate(ranked):
        one = options[number]
        others = [options[other] for other in ranked[:place] if _comparable(options[other], one)]
        shares = [float(_own(other, one, _SAMPLE).mean()) for other in others]
        most = min(range(len(others)), key=lambda other: (shares[other], -other), default=None)
        if most is None or shares[most] > _WORTH_IT:
            owns[number] = numpy.ones(len(one.rate), dtype=bool)
        else:
            owns[number] = _own(others[most], one, 1)
    return [replace(one, own=owns[number]) for number, one in enumerate(options) if owns[number].any()]


def _rank(options: Options) -> tuple[bool, float]:
    """What covers many comes first."""
    seconds = options.forward + options.backward + options.forward_queue + options.backward_queue + options.closing
    return options.alternating is not None, float(options.rate.mean() * seconds.mean())


def _comparable(one: Options, other: Options) -> bool:
    """Whether plans of the one, stage for stage, are plans of the other, as far as schedule and micro-batches go.

    GPipe keeps the most micro-batches and waits for none: what fits with it is no faster under another schedule.
    """
    a, b = one.problem, other.problem
    schedules = a.schedule in (b.schedule, ScheduleName.GPIPE)
    return schedules and a.boundaries == b.boundaries and a.model.micro_batches == b.model.micro_batches


def _own(one: Options, other: Options, every: int) -> numpy.ndarray:
    """Which of the ``other``'s stages (of each ``every``-th group) have no counterpart with the ``one``."""
    alternating = one.alternating is not None
    widest = int(max(one.replicas.max(), other.replicas.max())) + 1
    keys = [(each.first * each.boundaries + each.end) * widest + each.replicas for each in (one, other)]
    wanted = numpy.unique(keys[1])[::every]
    rows = [numpy.flatnonzero(numpy.isin(key, wanted)) for key in keys]
    groups = [numpy.searchsorted(wanted, key[row]) for key, row in zip(keys, rows, strict=True)]
    better, worse = (
        table(_columns(each, alternating)[:, row], group, places(group), len(wanted))
        for each, row, group in zip((one, other), rows, groups, strict=True)
    )
    covered = numpy.zeros(worse.shape[1:], dtype=bool)
    for some, good in as_good(better, worse):
        covered[some] = good.any(axis=2)
    return ~covered[groups[1], places(groups[1])]


def _columns(options: Options, alternating: bool) -> numpy.ndarray:
    """All that the objective and the limits see of stages of the same layers and replicas; less is better."""
    columns = [
        options.rate,
        options.requests,
        options.forward,
        options.backward,
        options.forward_queue,
        options.backward_queue,
        options.closing,
    ]
    if options.work is not None:
        columns.append(options.work)
    if alternating:
        each = options.alternating
        assert each is not None
        columns += [-each.kept, each.inner, each.outer, each.tail]
    return numpy.array(columns, dtype=float)
