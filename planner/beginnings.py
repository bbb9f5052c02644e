"""Good plans to begin from, met within seconds: none is proven, but what a search need not look at follows from them.

With caps on the stages' queues, and time and money weighed against each other, a plan grows from the last layer to the
first: of each boundary only the best rest is kept. That takes milliseconds, so it is done for many caps and weights:
coarsely for every problem, then about the best plans of the problems that come near the best of all.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy

from planner.neighbours import better
from planner.options import Options
from planner.problem import Problem
from planner.shortest_paths import least_before
from planner.stage_costs import StageCosts

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Of the candidates, by their queues: caps to begin with."""
_BROADLY = 2
"""Problems of which plans of all speeds are looked for."""
_STEPS = (1.5, 1.25, 1.12, 1.06, 1.03, 1.015)
"""By which both caps then go up and down, as long as that betters the plan."""
_NEAR = 1.15
"""Problems whose plan is so near the best of all (relative) are looked at closely..."""
_NEARER = 1.03
"""... and these once more, at caps that go from half of the best plan's queues to half as much again..."""
_NEAREST = 1.01
"""... and those closely again..."""
_SWEEP = 1.02
"""... by such steps..."""
_SWEEP_STEPS = range(-30, 25)
_SLACK = 1.03
"""... backward caps, which follow from forward ones by and large, with so much more room."""
_WIDE, _NARROW = 4.0 ** numpy.arange(-4, 5), 2.0 ** numpy.array([-1.5, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 1.5])
"""Weights of money, about the likely one."""
_FINES = (0.0, 0.1, 0.4, 1.6)
"""What a stage, or a worker, more than others costs where the job bounds their number: shares of the time per stage, or
worker, that is allowed."""
_NEAR_FINES = (0.7, 1.4)
"""Then also so many times those of the best plan, one at a time."""
Fines = tuple[float, float]
"""By stage and by worker, as shares like ``_FINES``."""
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
        self._best_fines: Fines = (0.0, 0.0)
        self._fines = _every_fine(self.options)
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

    def wide(self) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """Plans of all speeds: changes of those met."""
        for plan in better(self.options, list(self._met)):
            yield from self._admitted(plan)

    def close(self) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """Plans by caps about the best plan's queues, in ever smaller steps."""
        for step in _STEPS:
            before = numpy.inf
            while self.best < before:
                before = self.best
                yield from self._about(step, (0, -1, 1))

    def sweep(self) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """Plans by caps that are ever wider, from half of the best plan's queues on."""
        queues = self._queues
        for exponent in _SWEEP_STEPS:
            caps = (queues[0] * _SWEEP**exponent * _ABOVE, queues[1] * _SWEEP**exponent * _SLACK)
            yield from self._met_by(caps, self._seconds, self._rate, _NARROW)

    def _about(self, step: float, exponents: Sequence[int]) -> Iterator[tuple[Problem, list[StageCosts]]]:
        queues = self._queues
        self._fines = _near_fines(self._best_fines)
        for forward, backward in product(exponents, exponents):
            caps = (queues[0] * step**forward * _ABOVE, queues[1] * step**backward * _ABOVE)
            yield from self._met_by(caps, self._seconds, self._rate, _NARROW)

    def _met_by(
        self, caps: tuple[float, float], seconds: float, rate: float, weights: numpy.ndarray
    ) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """The plans found by these caps that are new, with each problem that admits them."""
        for plan, fines in _grown(self.options, caps, seconds, seconds / rate * weights, self._fines):
            if plan in self._met:
                continue
            self._met.add(plan)
            for problem, stages in self._admitted(plan):
                yield problem, stages
                iteration_s = problem.iteration_s(stages)
                value = problem.value(stages, iteration_s)
                if value < self.best:
                    self._best_fines = fines
                    self.best, self._seconds = value, max(iteration_s, 1e-9)
                    self._rate = max(value / self._seconds, 1e-12)
                    self._queues = (
                        max(stage.forward_queue_s for stage in stages),
                        max(stage.backward_queue_s for stage in stages),
                    )

    def _admitted(self, plan: Sequence[int]) -> Iterator[tuple[Problem, list[StageCosts]]]:
        """A plan, with each problem that admits it."""
        for options in self._alike:
            problem = options.problem
            stages = [problem.candidates[number] for number in plan]
            if problem.admits(stages):
                yield problem, stages


def begin(options: Sequence[Options], closely: bool) -> Iterator[tuple[Problem, list[StageCosts]]]:
    """Plans with their problems, in a fixed order.

    Args:
        closely: whether only the best by the problems' objective is wanted, and so it is worth to look about the best.
            Otherwise plans of all speeds are.
    """
    alike: dict[int, list[Options]] = {}
    for each in options:
        alike.setdefault(id(each.problem.candidates), []).append(each)
    beginnings = [Beginning(each) for each in alike.values()]
    for beginning in beginnings:
        yield from beginning.coarse()
    if not closely:
        for beginning in sorted(beginnings, key=lambda beginning: beginning.best)[:_BROADLY]:
            yield from beginning.wide()
    looks = ((_NEAR, Beginning.close), (_NEARER, Beginning.sweep), (_NEAREST, Beginning.close))
    for near, look in looks if closely else ():
        least = min((beginning.best for beginning in beginnings), default=numpy.inf)
        for beginning in sorted(beginnings, key=lambda beginning: beginning.best):
            if beginning.best < numpy.inf and beginning.best <= least * near:
                yield from look(beginning)


def _every_fine(options: Options) -> list[Fines]:
    """What a stage and a worker may count for, besides what they cost; negative where many are asked for."""
    limits = options.problem.limits
    stages, workers = options.bounded
    by_stage = _FINES if stages or limits.min_stages > 1 else (0.0,)
    by_worker = _FINES if workers or limits.min_workers > 1 else (0.0,)
    if limits.min_stages > 1:
        by_stage += tuple(-each for each in _FINES[1:])
    if limits.min_workers > 1:
        by_worker += tuple(-each * limits.max_concurrency / limits.min_workers for each in _FINES[1:])
    return list(product(by_stage, by_worker))


def _near_fines(fines: Fines) -> list[Fines]:
    by_stage, by_worker = fines
    near = [(by_stage * times, by_worker) for times in _NEAR_FINES] if by_stage else []
    return [fines, *near, *((by_stage, by_worker * times) for times in _NEAR_FINES if by_worker)]


def _grown(
    options: Options, caps: tuple[float, float], seconds: float, weights: numpy.ndarray, fines: Sequence[Fines]
) -> Iterator[tuple[tuple[int, ...], Fines]]:
    """A plan for each weight (seconds per unit of rate) and fine, as numbers of candidates within the caps."""
    within = numpy.flatnonzero((options.forward_queue <= caps[0]) & (options.backward_queue <= caps[1]))
    last = options.boundaries - 1
    limits = options.problem.limits
    shares = numpy.tile(fines, (len(weights), 1))
    weight = numpy.repeat(weights, len(fines))[:, None]
    by_stage, by_worker = (seconds * shares / (limits.max_stages, limits.max_concurrency)).T[:, :, None]
    # Seconds' worth: of each way (row) and candidate.
    costs = weight * (options.rate + options.requests / seconds)[within] + by_stage
    costs += by_worker * options.replicas[within]
    fore, whole = _before(options, within, costs)
    whole[:, 1:] += caps[1]
    ways = numpy.arange(len(costs))
    spent, path, longest, waits, away = (numpy.zeros((len(ways), last + 1)) for _ in range(5))
    spent[:, :-1] = numpy.inf
    chosen = numpy.zeros((len(ways), last + 1), dtype=int)
    for node, places in reversed(_grouped(options.first[within])):
        row = within[places]
        behind = options.end[row]
        both = options.forward[row] + options.backward[row]
        new_spent = spent[:, behind] + costs[:, places]
        new_path = path[:, behind] + both
        new_longest = numpy.maximum(
            longest[:, behind] + options.forward[row], new_path + caps[1] + options.closing[row]
        )
        new_waits = new_away = numpy.zeros((1, len(row)))
        # A long closing of a stage far behind may well be over before the first stage's backward passes are.
        lasts = numpy.maximum(new_longest + fore[:, [node]], new_path + whole[:, [node]])
        if options.alternating is not None:
            held, own_waits, new_away = options.waiting(row, away[:, behind], path[:, behind], behind == last)
            new_waits = numpy.maximum(waits[:, behind] + both, own_waits)
            lasts = numpy.where(held <= options.alternating.kept[row], numpy.maximum(lasts, new_waits), numpy.inf)
        best = (new_spent + lasts).argmin(axis=1)
        spent[:, node] = numpy.where(numpy.isfinite(lasts[ways, best]), new_spent[ways, best], numpy.inf)
        path[:, node], longest[:, node], chosen[:, node] = new_path[ways, best], new_longest[ways, best], row[best]
        waits[:, node], away[:, node] = numpy.broadcast_to(new_waits, lasts.shape)[ways, best], 0.0
        away[:, node] = numpy.broadcast_to(new_away, lasts.shape)[ways, best]
    for way in numpy.flatnonzero(numpy.isfinite(spent[:, 0])):
        plan, node = [], 0
        while node != last:
            plan.append(int(chosen[way, node]))
            node = int(options.end[chosen[way, node]])
        yield tuple(plan), fines[way % len(fines)]


def _before(options: Options, within: numpy.ndarray, costs: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The least that may stand before each boundary, by ways: with forward passes alone, and with backward passes and
    the first stage's closing (minus infinity at the first boundary, where nothing stands)."""
    first, nodes = options.first[within], options.boundaries
    pair = first * nodes + options.end[within]  # ascending, as candidates are
    fore = costs + options.forward[within]
    whole = fore + (options.backward[within] + numpy.where(first == 0, options.closing[within], 0.0))
    fore, whole = least_before(nodes, pair, fore), least_before(nodes, pair, whole)
    whole[:, 0] = -numpy.inf
    return fore, whole


def _grouped(keys: numpy.ndarray) -> list[tuple[int, numpy.ndarray]]:
    """Each key, ascending, with the places where it stands."""
    order = numpy.argsort(keys, kind="stable")
    distinct, begins = numpy.unique(keys[order], return_index=True)
    return list(zip(distinct.tolist(), numpy.split(order, begins[1:]), strict=True)) if len(keys) else []
