"""How good a plan could be if layers were not merged: a lower bound of the objective over every stage between any two.

By ``cost_model``, with the longest forward and backward queue Q and q of a plan, closings c_i, and P the sum of its
stages' paths, an iteration takes

    T ≥ P + Q + q + c_first
    T ≥ forward paths of all + Q + backward paths from i on + q_i + c_i        for each stage i

A cell is a range of T, one of Q and one of q. In a cell the objective is at least T_low · (least rate of a path that is
short enough), and that is at least, for any λ ≥ 0, the shortest path of rate + λ·P, less λ times what the cell leaves
for P. The cell of the least bound is cut in two until nothing better than the known plan is left, or the work allowed
is done. All of it is counted in work and not in time, so that a plan is the same on every machine.

Limits of stages and workers are left out, as are the rates of requests that storage admits: plans that break them only
make the bound lower.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from math import inf

import numpy

from planner.every_stage import Block, EveryStage
from planner.problem import Problem, replica_choices
from planner.solver import Solution

WORK = 8e8
"""Candidates times multipliers, or parts of seconds, that are looked at in all: half a minute on a quiet core."""
ENOUGH = 0.001
"""Relative: what is proven so closely is not looked at further."""
BINS = 128
"""Parts of the seconds that a cell leaves for paths, which are told apart."""
CLOSE = 0.03
"""A cell whose ranges are no wider has its paths looked at one by one, not only by multipliers."""
NARROW = 0.003
"""A cell whose ranges are no wider, as shares of an iteration, is not cut any more."""
_MULTIPLIERS = numpy.array([0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0])
"""λ, in units of the objective over T²: a plan at the middle one gives as much rate for a share of time."""


@dataclass(frozen=True)
class _Space:
    """Candidates of problems that differ only in schedule and architecture, in the order of intervals; a row each."""

    boundaries: int
    time_weight: float
    pair: numpy.ndarray
    """first · boundaries + end."""
    rate: numpy.ndarray
    requests: numpy.ndarray
    forward_s: numpy.ndarray
    path_s: numpy.ndarray
    """Forward and backward; with the closing, of a first stage."""
    closing_s: numpy.ndarray
    forward_queue_s: numpy.ndarray
    backward_queue_s: numpy.ndarray
    own_s: numpy.ndarray
    """An iteration with it takes at least so long."""

    def part(self, rows: numpy.ndarray) -> "_Space":
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        return _Space(
            **{name: each[rows] if isinstance(each, numpy.ndarray) else each for name, each in arrays.items()}
        )


_Range = tuple[float, float]


@dataclass(frozen=True)
class _Cell:
    """Plans whose iteration time and longest queues lie in ranges."""

    space: _Space
    seconds: _Range
    forward_queue: _Range
    backward_queue: _Range

    @property
    def widths(self) -> tuple[float, float, float]:
        """Of the ranges, as shares of an iteration."""
        least = max(self.seconds[0], 1e-3 * self.seconds[1])
        low, high = zip(self.seconds, self.forward_queue, self.backward_queue, strict=True)
        return tuple((most - some) / least for some, most in zip(low, high, strict=True))

    def part(self, **ranges: _Range) -> "_Cell | None":
        """With other ranges; None where no plan has them."""
        cell = replace(self, **ranges)
        space = self.space
        fitting = space.own_s <= cell.seconds[1]
        fitting &= space.forward_queue_s <= cell.forward_queue[1]
        fitting &= space.backward_queue_s <= cell.backward_queue[1]
        if not fitting.any():
            return None
        return replace(cell, space=space.part(numpy.flatnonzero(fitting)))

    def halves(self, rows: numpy.ndarray) -> "Iterator[_Cell]":
        """The cell of these candidates, cut in two in the dimension that is widest."""
        space = self.space.part(rows)
        cell = replace(
            self,
            space=space,
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


def _least(boundaries: int, pair: numpy.ndarray, costs: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Shortest paths from the first boundary to each, and from each to the last one.

    Args:
        pair: of each candidate, ascending.
        costs: [multipliers, candidates].
    """
    size = boundaries
    edges = numpy.full((len(costs), size * size), inf)
    begins = numpy.flatnonzero(numpy.diff(pair, prepend=-1))
    if len(begins):
        edges[:, pair[begins]] = numpy.minimum.reduceat(costs, begins, axis=1)
    edges = edges.reshape(len(costs), size, size)
    before, behind = (numpy.full((len(costs), size), inf) for _ in range(2))
    before[:, 0] = behind[:, -1] = 0.0
    for node in range(1, size):
        before[:, node] = (before[:, :node] + edges[:, :node, node]).min(axis=1)
    for node in reversed(range(size - 1)):
        behind[:, node] = (edges[:, node, node + 1 :] + behind[:, node + 1 :]).min(axis=1)
    return before, behind


def _least_within(
    boundaries: int, pair: numpy.ndarray, rate: numpy.ndarray, path_s: numpy.ndarray, room_s: float
) -> float:
    """The least rate of a path whose seconds are at most ``room_s``; seconds are rounded down to a part of that."""
    fitting = numpy.flatnonzero(path_s <= room_s)
    order = fitting[numpy.lexsort((path_s[fitting], rate[fitting], pair[fitting]))]
    pair, rate, path_s = pair[order], rate[order], path_s[order]
    # Of each interval, those that no other one betters in both: from each to the next the seconds become fewer.
    group = numpy.cumsum(numpy.diff(pair, prepend=-1) > 0)
    shifted = path_s - 2.0 * room_s * group
    least = numpy.minimum.accumulate(shifted)
    better = numpy.flatnonzero(numpy.diff(least, prepend=inf) < 0)
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


def _spaces(problems: Sequence[Problem], degrees: Sequence[int] | None) -> Iterator[tuple[EveryStage, Problem]]:
    """One for all problems of a micro-batch size and wire type, at the cheapest of their architectures."""
    groups: list[list[Problem]] = []
    for problem in problems:
        for group in groups:
            first = group[0].model
            alike = (first.profile, first.training, first.wire) == (
                problem.model.profile,
                problem.model.training,
                problem.model.wire,
            )
            if alike:
                group.append(problem)
                break
        else:
            groups.append([problem])
    for group in groups:
        cheapest = min(group, key=lambda problem: problem.model.usd_per_gb_s)
        schedules = list(dict.fromkeys(problem.schedule for problem in group))
        tried = degrees or replica_choices(cheapest.limits, cheapest.model.micro_batches)
        yield EveryStage(cheapest.model, cheapest.limits, tried, schedules), cheapest


class _Bound:
    """The search; ``limit`` is the known plan's objective."""

    def __init__(self, limit: float, work: float) -> None:
        self.limit, self.left = limit, work
        self._numbers = count()
        self._open: list[tuple[float, int, _Cell]] = []

    def add(self, every: EveryStage, problem: Problem) -> None:
        """Opens the cells of one space."""
        usd_weight, time_weight = problem.objective.usd_weight, problem.objective.time_weight
        found = self._worth_it(every, usd_weight, time_weight)
        if found is not None:
            space, least_s = found
            at_most = float(min(self.limit / max(float(space.rate.min()) + time_weight, 1e-300), 1e12))
            high_s = max(least_s, at_most)
            queues = ((0.0, float(each.max())) for each in (space.forward_queue_s, space.backward_queue_s))
            self._push(0.0, _Cell(space, (least_s, high_s), *queues))

    def _worth_it(self, every: EveryStage, usd_weight: float, time_weight: float) -> tuple[_Space, float] | None:
        """The candidates that a plan below the limit may have, and the least seconds of an iteration."""
        size = every.boundaries
        costs = {name: numpy.full(size * size, inf) for name in ("rate", "path", "forward", "whole")}
        for block in every.blocks():
            pair = block.first * size + block.end
            self.left -= len(pair)
            rate = usd_weight * block.usd_per_s
            costs["rate"][pair] = numpy.minimum(costs["rate"][pair], rate)
            costs["path"][pair] = numpy.minimum(costs["path"][pair], block.path_s)
            costs["forward"][pair] = numpy.minimum(costs["forward"][pair], block.forward_s)
        keys = numpy.arange(size * size)
        before, behind = _least(size, keys, numpy.vstack([costs["rate"], costs["path"], costs["forward"]]))
        if not numpy.isfinite(before[0, -1]):
            return None
        kept: list[tuple[numpy.ndarray, ...]] = []
        for block in every.blocks():
            first, end = block.first, block.end
            own_s = self._own_s(block, before[1], behind[1], before[2])
            rate = numpy.full(len(first), usd_weight * block.usd_per_s)
            least = before[0, first] + rate + behind[0, end] + time_weight
            worth = numpy.flatnonzero(least * own_s + usd_weight * block.request_usd < self.limit)
            path_s = block.path_s + numpy.where(first == 0, block.closing_s, 0.0)
            columns = (
                first * size + end,
                rate,
                usd_weight * block.request_usd,
                block.forward_s,
                path_s,
                numpy.where(first == 0, 0.0, block.closing_s),
                block.forward_queue_s,
                block.backward_queue_s,
                own_s,
            )
            kept.append(tuple(column[worth] for column in columns))
        joined = [numpy.concatenate(columns) for columns in zip(*kept, strict=True)]
        if not len(joined[0]):
            return None
        order = numpy.argsort(joined[0], kind="stable")
        space = _Space(size, time_weight, *(column[order] for column in joined))
        return space, float(before[1, -1])

    @staticmethod
    def _own_s(
        block: Block, path_before: numpy.ndarray, path_behind: numpy.ndarray, forward_before: numpy.ndarray
    ) -> numpy.ndarray:
        first, end = block.first, block.end
        queues_s = block.forward_queue_s + block.backward_queue_s
        plain = path_before[first] + block.path_s + queues_s + path_behind[end]
        closing = forward_before[first] + block.path_s + queues_s + block.closing_s + path_behind[end]
        waiting = path_before[first] + block.waiting_s + block.turns * path_behind[end]
        return numpy.maximum(numpy.maximum(plain, closing), waiting)

    def _push(self, bound: float, cell: _Cell) -> None:
        if bound < self.limit * (1 - ENOUGH):
            heapq.heappush(self._open, (bound, next(self._numbers), cell))

    def run(self) -> float:
        """The lower bound."""
        lowest = self.limit * (1 - ENOUGH)
        while self._open and self.left > 0:
            bound, _, cell = heapq.heappop(self._open)
            bound, rows = self._look(bound, cell)
            if bound >= lowest or not len(rows):
                continue
            if max(cell.widths) <= NARROW:
                lowest = bound  # and other cells with less are looked at first
                continue
            for part in cell.halves(rows):
                self._push(bound, part)
        return min(lowest, self._open[0][0]) if self._open else lowest

    def _look(self, bound: float, cell: _Cell) -> tuple[float, numpy.ndarray]:
        """A better bound of the cell, and the candidates that plans below the limit may have there."""
        space, (low_s, high_s) = cell.space, cell.seconds
        at = _MULTIPLIERS * (self.limit / high_s**2)
        self.left -= len(space.pair) * len(at)
        base = space.rate + space.requests / high_s
        costs = base + at[:, None] * space.path_s
        before, behind = _least(space.boundaries, space.pair, costs)
        if not numpy.isfinite(before[0, -1]):
            return inf, numpy.zeros(0, dtype=int)
        first, end = numpy.divmod(space.pair, space.boundaries)
        room_s = high_s - cell.forward_queue[0] - cell.backward_queue[0]
        through = (before[:, first] + costs + behind[:, end] - at[:, None] * room_s).max(axis=0)
        # Its own closing follows its own queue, and the stages before it have only gone forward.
        fore, _ = _least(space.boundaries, space.pair, base + at[:, None] * space.forward_s)
        queues_s = numpy.maximum(cell.forward_queue[0], space.forward_queue_s) + space.backward_queue_s
        own_room = at[:, None] * (high_s - queues_s - space.closing_s)
        through = numpy.maximum(through, (fore[:, first] + costs + behind[:, end] - own_room).max(axis=0))
        objective = (through + space.time_weight) * numpy.maximum(low_s, space.own_s)
        for queue_s, (low, _) in (
            (space.forward_queue_s, cell.forward_queue),
            (space.backward_queue_s, cell.backward_queue),
        ):
            bound = max(bound, float(objective[queue_s >= low].min(initial=inf)))
        rows = numpy.flatnonzero(objective < self.limit)
        if bound < self.limit and len(rows) and max(cell.widths) <= CLOSE:
            self.left -= len(rows) * BINS
            rate = _least_within(space.boundaries, space.pair[rows], base[rows], space.path_s[rows], room_s)
            bound = max(bound, (rate + space.time_weight) * low_s)
        return bound, rows


def lower_bound(
    problems: Sequence[Problem], value: float, degrees: Sequence[int] | None = None, work: float = WORK
) -> float:
    """What the objective of any plan is at least that has its cuts between any two layers.

    Args:
        problems: of one job; only their models, limits and schedules count.
        value: a plan's objective, in the closed form. The answer is at most that.
        degrees: numbers of replicas that the problems were built with, if not ``replica_choices``.
        work: see ``WORK``.
    """
    search = _Bound(value, work)
    for every, problem in _spaces(problems, degrees):
        search.add(every, problem)
    return search.run()


def merging_loss(problems: Sequence[Problem], found: Solution, degrees: Sequence[int] | None = None) -> float:
    """By how much, at most, a plan between unmerged layers is better (relative, of the objective's closed form).

    Args:
        problems, degrees: as ``lower_bound``.
    """
    unmerged = all(len(problem.boundaries) > problem.model.layer_count for problem in problems)
    if unmerged or found.objective <= 0:
        return 0.0
    return 1 - lower_bound(problems, found.objective, degrees) / found.objective
