"""The cost/time frontier of a problem: plans such that no other is both faster and cheaper, by more than a tolerance.

Beginning from good plans for a range of prices of a second, partial plans (``partial_plans``) are searched for whatever
is better than all plans met, first by much, then by less. What the last search does not find is proven to be nearer
than the tolerance to a plan that was met.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy

from planner.cost_model import StageCosts
from planner.first_plans import first_plans, neighbours
from planner.job import Objective
from planner.milp import solve
from planner.partial_plans import MOST, Wanted, prune
from planner.problem import Problem
from planner.shortest_paths import Paths

TOLERANCE = 0.01
"""Relative: how much faster and cheaper at once a plan may be that is not on the frontier."""
_WIDEST = 0.64
"""The first search looks for plans that are better by half of this."""
TIME_LIMIT_S = 100.0
"""Then the tolerance stays as proven before."""
_PRICES = (0.0, 10.0, 100.0, 1e3, 1e4, 1e6)
"""Seconds that one USD is worth, for which plans to begin from are good."""


@dataclass(frozen=True)
class Point:
    """A plan with its closed-form figures per iteration."""

    stages: tuple[StageCosts, ...]
    iteration_s: float
    usd: float


@dataclass(frozen=True)
class Frontier:
    """Plans from fast to cheap, none better than another in both."""

    points: tuple[Point, ...]
    tolerance: float
    """Proven: for every plan there is a point that is at most so much slower and at most so much dearer (relative).
    Infinite where not even the first search's was proven."""


class _Met:
    """The best plans met so far, from fast to cheap."""

    def __init__(self, problem: Problem) -> None:
        self._model = problem.model
        self.points: list[Point] = []

    def add(self, plans: Iterable[Sequence[StageCosts]]) -> None:
        found = list(self.points)
        for stages in plans:
            iteration_s = self._model.iteration_s(stages)
            found.append(Point(tuple(stages), iteration_s, self._model.usd(stages, iteration_s)))
        self.points = []
        for point in sorted(found, key=lambda p: (p.iteration_s, p.usd)):
            if not self.points or point.usd < self.points[-1].usd:
                self.points.append(point)

    def beyond(self, tolerance: float) -> Wanted:
        """Plans that would be better than all of these by more than ``tolerance``."""
        seconds_met = numpy.array([point.iteration_s for point in self.points])
        usd_met = numpy.array([float("inf"), *(point.usd for point in self.points)])

        def wanted(seconds: numpy.ndarray, usd: numpy.ndarray) -> numpy.ndarray:
            as_fast = numpy.searchsorted(seconds_met, seconds * (1 + tolerance), side="right")
            return usd * (1 + tolerance) < usd_met[as_fast]

        return wanted


def find_frontier(
    problem: Problem, tolerance: float = TOLERANCE, most: int = MOST, time_limit_s: float = TIME_LIMIT_S
) -> Frontier:
    """The frontier of all plans that the problem admits; the weights of its objective do not matter.

    Args:
        most: partial plans that one search looks at; when they are more, the tolerance stays as proven before.
        time_limit_s: likewise.

    Raises:
        UserInputError: no plan is within the job's limits.
        FuncpipeError: the time limit passed before any plan was found.
    """
    deadline = monotonic() + time_limit_s
    met = _Met(problem)
    for seconds_per_usd in _PRICES:
        met.add(_first(replace(problem, objective=Objective(usd_weight=seconds_per_usd, time_weight=1.0))))
    for point in list(met.points):
        met.add(neighbours(problem, point.stages))
    if not met.points:
        best = solve(problem)
        assert best is not None, "nothing is excluded"
        met.add([best.stages])
    proven, width = float("inf"), _WIDEST
    while proven > tolerance:
        width = max(width / 2, tolerance)
        about_s = met.points[-1].iteration_s or 1.0
        left = prune(problem, met.beyond(width), about_s=about_s, most=most, deadline=deadline)
        met.add(left.plans)
        if not left.complete:
            break
        proven = width
    return Frontier(tuple(met.points), proven)


def _first(problem: Problem) -> Iterable[Sequence[StageCosts]]:
    paths = Paths(problem.boundaries, problem.candidates, problem.limits)
    return first_plans(problem, paths, lambda stages: problem.value(stages, problem.model.iteration_s(stages)))
