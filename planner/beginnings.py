"""Good plans to begin from, met within seconds: none is proven, but what a search need not look at follows from them.

With caps on the stages' queues, and time and money weighed against each other, a plan grows from the last layer to the
first: of each boundary only the best rest is kept. That takes milliseconds, so it is done for many caps and weights:
coarsely for every problem, then about the best plans of the problems that come near the best of all.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy

from planner.options import Options
from planner.problem import Problem
from planner.stage_costs import StageCosts

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Of the candidates, by their queues: caps to begin with."""
_STEPS = (1.5, 1.25, 1.12, 1.06, 1.03, 1.015)
"""By which both caps then go up and down, as long as that betters the plan."""
_NEAR = 1.15
"""Problems whose plan is so near the best of all (relative) are looked at closely..."""
_NEARER = 1.03
"""... and these once more, at all caps of a grid about the plan's queues."""
_GRID = 1.06
"""Relative distance of the grid's caps..."""
_GRID_STEPS = range(-10, 6)
"""... and its extent."""
_WIDE, _NARROW = 4.0 ** numpy.arange(-4, 5), 2.0 ** numpy.array([-1.5, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 1.5])
"""Weights of money, about the likely one."""
_FINES = (0.0, 0.1, 0.4, 1.6)
"""What a stage, or a worker, more than others costs where the job bounds their number: shares of the time per stage, or
worker, that is allowed."""
_ABOVE = 1 + 1e-9
"""A cap is not below what it was made of."""


class Beginning:
    """Plans of one problem, or of several that differ in prices and windows alone; ``best`` is the best of all.

    Args:
        alike: the first one's prices find the plans.
    """

    def __init__(self, alike: Sequence[Options]) -> None:
        self.options, self._alike = alike[0], alike
        self.best = numpy.inf
        self._seconds = self._rate = 1.0
        self._queues = (0.0, 0.0)
        self._met: set[tuple[int, ...]] = set()

    def coarse(self) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """Plans by caps that let a share of the candidates pass."""
        options = self.options
        rate = max(float(numpy.median(options.rate)) * 4 + options.problem.objective.time_weight, 1e-12)
        for share in _SHARES:
            queues = (options.forward_queue, options.backward_queue)
            caps = tuple(float(numpy.quantile(each, share)) for each in queues)
            path_s = float(numpy.median(options.forward + options.backward))
            yield from self._met_by((caps[0], caps[1]), max(path_s + sum(caps), 1e-9), rate, _WIDE)

    def close(self) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """Plans by caps about the best plan's queues, in ever smaller steps."""
        for step in _STEPS:
            before = numpy.inf
            while self.best < before:
                before = self.best
                yield from self._about(step, (0, -1, 1))

    def grid(self) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """Plans by all caps of a grid about the best plan's queues."""
        return self._about(_GRID, _GRID_STEPS)

    def _about(self, step: float, exponents: Sequence[int]) -> Iterator[tuple[Problem, list[StageCosts]]]:
        queues = self._queues
        for forward, backward in product(exponents, exponents):
            caps = (queues[0] * step**forward * _ABOVE, queues[1] * step**backward * _ABOVE)
            yield from self._met_by(caps, self._seconds, self._rate, _NARROW)

    def _met_by(
        self, caps: tuple[float, float], seconds: float, rate: float, weights: numpy.ndarray
    ) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """The plans found by these caps that are new, with each problem that admits them."""
        for plan in _grown(self.options, caps, seconds, seconds / rate * weights):
            if plan in self._met:
                continue
            self._met.add(plan)
            for options in self._alike:
                problem = options.problem
                stages = [problem.candidates[number] for number in plan]
                if not problem.admits(stages):
                    continue
                yield problem, stages
                iteration_s = problem.iteration_s(stages)
                value = problem.value(stages, iteration_s)
                if value < self.best:
                    self.best, self._seconds = value, max(iteration_s, 1e-9)
                    self._rate = max(value / self._seconds, 1e-12)
                    self._queues = (
                        max(stage.forward_queue_s for stage in stages),
                        max(stage.backward_queue_s for stage in stages),
                    )


def begin(options: Sequence[Options], closely: bool) -> Iterator[tuple[Problem, list[StageCosts]]]:
    """Plans with their problems, in a fixed order.

    Args:
        closely: whether only the best by the problems' objective is wanted, and so it is worth to look about the best.
    """
    alike: dict[int, list[Options]] = {}
    for each in options:
        alike.setdefault(id(each.problem.candidates), []).append(each)
    beginnings = [Beginning(each) for each in alike.values()]
    for beginning in beginnings:
        yield from beginning.coarse()
    for near, look in ((_NEAR, Beginning.close), (_NEARER, Beginning.grid)) if closely else ():
        least = min((beginning.best for beginning in beginnings), default=numpy.inf)
        for beginning in sorted(beginnings, key=lambda beginning: beginning.best):
            if beginning.best < numpy.inf and beginning.best <= least * near:
                yield from look(beginning)


def _fines(options: Options, seconds: float) -> list[tuple[float, float]]:
    """Seconds that a stage and a worker count for, besides what they cost; negative where many are asked for."""
    limits = options.problem.limits
    stages, workers = options.bounded
    by_stage, by_worker = [0.0], [0.0]
    if stages or limits.min_stages > 1:
        by_stage = [seconds / limits.max_stages * each for each in _FINES]
    if workers or limits.min_workers > 1:
        by_worker = [seconds / limits.max_concurrency * each for each in _FINES]
    if limits.min_stages > 1:
        by_stage += [-each for each in by_stage[1:]]
    if limits.min_workers > 1:
        by_worker += [-seconds / limits.min_workers * each for each in _FINES[1:]]
    return list(product(by_stage, by_worker))


def _grown(
    options: Options, caps: tuple[float, float], seconds: float, weights: numpy.ndarray
) -> Iterator[tuple[int, ...]]:
    """A plan for each weight (seconds per unit of rate) and fine, as numbers of candidates within the caps."""
    rows = numpy.flatnonzero((options.forward_queue <= caps[0]) & (options.backward_queue <= caps[1]))
    rows = rows[numpy.argsort(options.first[rows], kind="stable")]
    nodes = options.boundaries
    begins = numpy.searchsorted(options.first[rows], numpy.arange(nodes + 1))
    fines = numpy.array(_fines(options, seconds))
    weight = numpy.repeat(weights, len(fines))[:, None]
    by_stage, by_worker = numpy.tile(fines, (len(weights), 1)).T[:, :, None]
    ways = numpy.arange(len(weight))
    spent, path, longest, waits, away = (numpy.zeros((len(ways), nodes)) for _ in range(5))
    spent[:, :-1] = numpy.inf
    chosen = numpy.zeros((len(ways), nodes), dtype=int)
    for node in reversed(range(nodes - 1)):
        row = rows[begins[node] : begins[node + 1]]
        if not len(row):
            continue
        behind = options.end[row]
        both = options.forward[row] + options.backward[row]
        own_rate = options.rate[row] + options.requests[row] / seconds
        new_spent = spent[:, behind] + weight * own_rate + by_stage + by_worker * options.replicas[row]
        new_path = path[:, behind] + both
        new_longest = numpy.maximum(
            longest[:, behind] + options.forward[row], new_path + caps[1] + options.closing[row]
        )
        new_waits = new_away = numpy.zeros((1, len(row)))
        lasts = new_longest
        if options.alternating is not None:
            held, own_waits, new_away = options.waiting(row, away[:, behind], path[:, behind], behind == nodes - 1)
            new_waits = numpy.maximum(waits[:, behind] + both, own_waits)
            lasts = numpy.where(held <= options.alternating.kept[row], numpy.maximum(lasts, new_waits), numpy.inf)
        best = (new_spent + lasts).argmin(axis=1)
        spent[:, node] = numpy.where(numpy.isfinite(lasts[ways, best]), new_spent[ways, best], numpy.inf)
        path[:, node], longest[:, node], chosen[:, node] = new_path[ways, best], new_longest[ways, best], row[best]
        waits[:, node], away[:, node] = numpy.broadcast_to(new_waits, lasts.shape)[ways, best], 0.0
        away[:, node] = numpy.broadcast_to(new_away, lasts.shape)[ways, best]
    for way in numpy.flatnonzero(numpy.isfinite(spent[:, 0])):
        plan, node = [], 0
        while node != nodes - 1:
            plan.append(int(chosen[way, node]))
            node = int(options.end[chosen[way, node]])
        yield tuple(plan)
