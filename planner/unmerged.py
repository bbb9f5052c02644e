"""How good a plan could be if layers were not merged: a lower bound of its value, over every stage between any two.

By ``cost_model``, with the longest forward and backward queue Q and q of a plan, closings c_i, and P the sum of its
stages' paths, an iteration takes

    T ≥ P + Q + q + c_first
    T ≥ forward paths of all + Q + backward paths from i on + q_i + c_i        for each stage i

A cell is a range of T, one of Q and one of q. In a cell the objective is at least T_low · (least rate of a path that is
short enough), and that is at least, for any λ ≥ 0, the shortest path of rate + λ·P, less λ times what the cell leaves
for P. The cell of the least bound is cut in two until nothing better than the known plan is left, or the work allowed
is done. All of it is counted in work and not in time, so that a plan is the same on every machine.

Limits of stages and workers are left out: plans that break them only make the bound lower.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from math import inf

import numpy

from planner.aims import ROUNDING, Aim
from planner.candidates import Candidates
from planner.cells import Cell, Space
from planner.dominance import undominated
from planner.every_stage import EveryStage
from planner.problem import Problem, replica_choices
from planner.shortest_paths import least, least_before, least_within

WORK = 3e8
"""Candidates times multipliers that are looked at in all: half a minute of one core, or less..."""
LOOK, NODE = 3_000, 100
"""... and of each look at a cell so many more, and for each of its boundaries: what it takes whatever is in it."""
WITHIN = 16
"""For each candidate of a cell whose paths are looked at one by one: most are soon put aside."""
ENOUGH = 0.001
"""Relative: what is proven so closely is not looked at further."""
CLOSE = 0.03
"""A cell whose ranges are no wider has its paths looked at one by one, and by all multipliers."""
NARROW = 0.003
"""A cell whose ranges are no wider, as shares of an iteration, is not cut any more."""
_MULTIPLIERS = numpy.array([0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0])
"""λ, in units of the objective over T²: a plan at the middle one gives as much rate for a share of time."""
_ABOUT = numpy.array([0.5, 1.0, 2.0])
"""Of the multiplier that was best for what a cell is a part of."""
_BLOCK = 1 << 14
"""Candidates that are looked at together: what is computed of them stays near the processor."""
_LONGEST_S = 1e12
"""Of an iteration, where nothing else bounds it."""


def _spaces(problems: Sequence[Problem], degrees: Sequence[int] | None) -> Iterator[EveryStage]:
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
        yield EveryStage(cheapest.model, cheapest.limits, tried, schedules)


class _Bound:
    """The search; ``limit`` is the known plan's value."""

    def __init__(self, aim: Aim, limit: float, work: float) -> None:
        self.aim, self.limit, self.left = aim, limit, work
        self.usd_weight, self.time_weight = aim.objective.usd_weight, aim.objective.time_weight
        self._numbers = count()
        self._open: list[tuple[float, int, Cell]] = []

    def add(self, every: EveryStage) -> None:
        """Opens the cells of one space."""
        found = self._worth_it(every)
        if found is not None:
            space, least_s, least_rate = found
            high_s = max(least_s, min(self.aim.longest_s(self.limit, least_rate + self.time_weight), _LONGEST_S))
            queues = ((0.0, float(each.max())) for each in (space.forward_queue_s, space.backward_queue_s))
            self._push(0.0, Cell(space, (least_s, high_s), *queues))

    def _worth_it(self, every: EveryStage) -> tuple[Space, float, float] | None:
        """The candidates that a plan below the limit may have, the least seconds of an iteration, the least rate."""
        size = every.boundaries
        costs = {name: numpy.full(size * size, inf) for name in ("rate", "path", "forward")}
        for block in every.blocks():
            pair = block.first * size + block.end
            self.left -= len(pair)
            columns = (self._rate(block), block.forward_path_s + block.backward_path_s, block.forward_path_s)
            for name, column in zip(costs, columns, strict=True):
                costs[name][pair] = numpy.minimum(costs[name][pair], column)
        before, behind = least(size, numpy.arange(size * size), numpy.vstack(list(costs.values())))
        if not numpy.isfinite(before[0, -1]):
            return None
        kept: list[tuple[numpy.ndarray, ...]] = []
        for block in every.blocks():
            first, end = block.first, block.end
            own_s = self._own_s(block, before[1], behind[1], before[2])
            rate = self._rate(block)
            requests = self.usd_weight * block.request_usd
            least_rate = before[0, first] + rate + behind[0, end] + self.time_weight
            worth = numpy.flatnonzero(self.aim.values(own_s, least_rate * own_s + requests) < self.limit)
            path_s = block.forward_path_s + block.backward_path_s + numpy.where(first == 0, block.closing_s, 0.0)
            columns = (
                first * size + end,
                rate,
                requests,
                block.forward_path_s,
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
        pair, *figures = (column[order] for column in joined)
        best = undominated(pair, numpy.column_stack(figures))
        space = Space(size, pair[best], *(column[best] for column in figures))
        return space, float(before[1, -1]), float(before[0, -1])

    def _rate(self, block: Candidates) -> numpy.ndarray:
        """Objective per second of an iteration."""
        return self.usd_weight * block.model.usd_per_gb_s * block.total_gb

    @staticmethod
    def _own_s(
        block: Candidates, path_before: numpy.ndarray, path_behind: numpy.ndarray, forward_before: numpy.ndarray
    ) -> numpy.ndarray:
        first, end = block.first, block.end
        queues_s = block.forward_queue_s + block.backward_queue_s
        path_s = block.forward_path_s + block.backward_path_s
        plain = path_before[first] + path_s + queues_s + path_behind[end]
        closing = forward_before[first] + path_s + queues_s + block.closing_s + path_behind[end]
        turns = -(-block.micro_batches // block.kept)
        waiting = path_before[first] + turns * (block.inner_s + path_behind[end]) + block.outer_s
        return numpy.maximum(numpy.maximum(plain, closing), waiting)

    def _push(self, bound: float, cell: Cell) -> None:
        if bound < self.limit * (1 - ENOUGH):
            heapq.heappush(self._open, (bound, next(self._numbers), cell))

    def run(self) -> float:
        """The lower bound."""
        lowest = self.limit * (1 - ENOUGH)
        while self._open and self.left > 0:
            bound, _, cell = heapq.heappop(self._open)
            bound, cell = self._look(bound, cell)
            if bound >= lowest or not len(cell.space.pair):
                continue
            if max(cell.widths) <= NARROW:
                lowest = bound  # and other cells with less are looked at first
                continue
            for part in cell.halves():
                self._push(bound, part)
        return min(lowest, self._open[0][0]) if self._open else lowest

    def _look(self, bound: float, cell: Cell) -> tuple[float, Cell]:
        """A better bound of the cell, and the cell with those of its candidates that plans below the limit may have."""
        space, (low_s, high_s) = cell.space, cell.seconds
        most = self.aim.limit(self.limit, low_s)
        tried = _MULTIPLIERS if cell.multiplier is None or max(cell.widths) <= CLOSE else cell.multiplier * _ABOUT
        at = tried * (most / high_s**2) if most < inf else numpy.zeros(0)
        self.left -= (LOOK + NODE * space.boundaries + len(space.pair)) * (len(at) + 1)
        base = space.rate + space.requests / high_s
        # The last row has no rate: seconds alone.
        costs = numpy.vstack([base + at[:, None] * space.path_s, space.path_s])
        before, behind = least(space.boundaries, space.pair, costs)
        if not numpy.isfinite(before[-1, -1]):
            return inf, replace(cell, space=space.part(numpy.zeros(0, dtype=int)))
        forward = numpy.vstack([base + at[:, None] * space.forward_s, space.forward_s])
        fore = least_before(space.boundaries, space.pair, forward)
        room_s = high_s - cell.forward_queue[0] - cell.backward_queue[0]
        if len(at):
            best = float(tried[numpy.argmax(before[:-1, -1] - at * room_s)])
            cell = replace(cell, multiplier=max(best, float(_MULTIPLIERS[1])))
        seconds, values = numpy.empty(len(space.pair)), numpy.full(len(space.pair), inf)
        for begin in range(0, len(space.pair), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            seconds[rows], rate = self._through(cell, rows, at, costs[:, rows], (before, behind, fore))
            fits = numpy.flatnonzero(seconds[rows] <= high_s * (1 + ROUNDING))
            least_s = numpy.maximum(low_s, seconds[rows][fits])
            values[begin + fits] = self.aim.values(least_s, (rate[fits] + self.time_weight) * least_s)
        for own_s, (low, _) in (
            (space.forward_queue_s, cell.forward_queue),
            (space.backward_queue_s, cell.backward_queue),
        ):
            bound = max(bound, float(values[own_s >= low].min(initial=inf)))
        good = numpy.flatnonzero(values < self.limit)
        left = replace(space.part(good), own_s=seconds[good])
        if bound < self.limit and len(good) and max(cell.widths) <= CLOSE:
            self.left -= len(good) * WITHIN
            least_rate = least_within(space.boundaries, left.pair, base[good], left.path_s, room_s)
            bound = max(bound, self.aim.value(low_s, (least_rate + self.time_weight) * low_s))
        return bound, replace(cell, space=left)

    @staticmethod
    def _through(
        cell: Cell,
        rows: slice,
        at: numpy.ndarray,
        costs: numpy.ndarray,
        paths: tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray],
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The least seconds, and the least rate, of the cell's plans with each of some candidates.

        Args:
            paths: shortest ones before and behind each boundary, and of forward passes before it; a row for each
                multiplier, and one of seconds alone, as of ``costs``.
        """
        space, high_s, (before, behind, fore) = cell.space, cell.seconds[1], paths
        first, end = numpy.divmod(space.pair[rows], space.boundaries)
        queue_s = numpy.maximum(cell.forward_queue[0], space.forward_queue_s[rows])
        queues_s = queue_s + numpy.maximum(cell.backward_queue[0], space.backward_queue_s[rows])
        # Its own closing follows its own queue, and the stages before it have only gone forward.
        closed_s = queue_s + space.backward_queue_s[rows] + space.closing_s[rows]
        rest = costs + behind[:, end]
        through, closed = rest + before[:, first], rest + fore[:, first]
        seconds = numpy.maximum(through[-1] + queues_s, closed[-1] + closed_s)
        rate = (through[:-1] - at[:, None] * (high_s - queues_s)).max(axis=0, initial=0.0)
        rate = numpy.maximum(rate, (closed[:-1] - at[:, None] * (high_s - closed_s)).max(axis=0, initial=0.0))
        return numpy.maximum(seconds, space.own_s[rows]), rate


def lower_bound(
    problems: Sequence[Problem], aim: Aim, value: float, degrees: Sequence[int] | None = None, work: float = WORK
) -> float:
    """What the value of any plan is at least that has its cuts between any two layers.

    Args:
        problems: of one job; only their models, limits and schedules count.
        value: a plan's, by the closed form. The answer is at most that.
        degrees: numbers of replicas that the problems were built with, if not ``replica_choices``.
        work: see ``WORK``.
    """
    search = _Bound(aim, value, work)
    for every in _spaces(problems, degrees):
        search.add(every)
    return search.run()


def merging_loss(problems: Sequence[Problem], aim: Aim, value: float, degrees: Sequence[int] | None = None) -> float:
    """By how much, at most, a plan between unmerged layers is better (relative, of the closed form's value).

    Args:
        problems, aim, value, degrees: as ``lower_bound``.
    """
    unmerged = all(len(problem.boundaries) > problem.model.layer_count for problem in problems)
    if unmerged or value <= 0:
        return 0.0
    return 1 - lower_bound(problems, aim, value, degrees) / value
