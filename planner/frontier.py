"""The cost/time frontier of problems: plans such that no other is both faster and cheaper, by more than a tolerance."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

from planner.job import Objective
from planner.problem import Problem
from planner.search import Search
from planner.solver import out_of_reach
from planner.stage_costs import StageCosts
from runtime.errors import FuncpipeError, UserInputError

TOLERANCE = 0.01
"""Relative: how much faster and cheaper at once a plan may be that is not on the frontier."""
TIME_LIMIT_S = 110.0
"""Then the tolerance is as proven until then."""
_FASTEST_SHARE = 0.5
"""Of that, at most, to prove what the fastest plans take."""
_ABOVE = 1 + 1e-9
"""So that the fastest plan met is within the tolerance of what is proven, whatever the last bits."""
_STEPS = 64
"""Between the tolerance asked for and none at all, how finely it is told what was proven when time was up."""


@dataclass(frozen=True)
class Point:
    """A plan with its closed-form figures per iteration."""

    problem: Problem
    stages: tuple[StageCosts, ...]
    iteration_s: float
    usd: float


@dataclass(frozen=True)
class Frontier:
    """Plans from fast to cheap, none better than another in both."""

    points: tuple[Point, ...]
    tolerance: float
    """Proven: for every plan there is a point that is at most so much slower and at most so much dearer (relative).
    Infinite where not even that of twice as slow and dear was proven."""


class _Beyond:
    """Plans that are better than all that are met by more than a tolerance."""

    usd_weight, time_weight, one = 1.0, 0.0, False
    time_share = 1.0
    rivals = 1

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self.points: list[Point] = []
        self._seconds: list[float] = []

    @property
    def known(self) -> bool:
        return bool(self.points)

    def limit(self, low_s: float) -> float:
        return self.usd_at(low_s * (1 + self._tolerance)) / (1 + self._tolerance)

    def usd_at(self, seconds: float) -> float:
        """The least USD of a plan met that takes at most so long."""
        at = bisect_right(self._seconds, seconds)
        return self.points[at - 1].usd if at else inf

    def longest_s(self, least_rate: float) -> float:
        return self.points[-1].usd / least_rate if self.points and least_rate > 0 else inf

    def meet(self, problem: Problem, stages: Sequence[StageCosts]) -> None:
        iteration_s = problem.iteration_s(stages)
        usd = problem.model.usd(stages, iteration_s)
        if usd >= self.usd_at(iteration_s):
            return
        worse = [point for point in self.points if point.iteration_s >= iteration_s and point.usd >= usd]
        kept = [point for point in self.points if point not in worse]
        kept.append(Point(problem, tuple(stages), iteration_s, usd))
        self.points = sorted(kept, key=lambda point: point.iteration_s)
        self._seconds = [point.iteration_s for point in self.points]


def find_frontier(
    problems: Sequence[Problem], tolerance: float = TOLERANCE, time_limit_s: float = TIME_LIMIT_S
) -> Frontier:
    """The frontier of all plans that the problems admit; the weights of their objective do not matter.

    Args:
        time_limit_s: then the tolerance is as proven until then.

    Raises:
        UserInputError: no plan is within the job's limits.
        FuncpipeError: the time limit passed before any plan was found.
    """
    goal = _Beyond(tolerance)
    problems = [_in_usd(problem) for problem in problems]
    begin = monotonic()
    low_s = _fastest_s(problems, goal, tolerance, time_limit_s * _FASTEST_SHARE)
    left: list[tuple[float, float]] = []
    if low_s < inf:
        search = Search(problems, goal, time_limit_s - (monotonic() - begin), low_s)
        search.run()
        left = list(search.open_windows())
    if not goal.points:
        if left:
            raise FuncpipeError(
                "the search found no plan within its time limit. Allow fewer sizes in limits.memory_mb or fewer "
                "replicas."
            )
        raise UserInputError(out_of_reach(problems[0]))
    return Frontier(tuple(goal.points), _proven(goal, tolerance, left))


def _in_usd(problem: Problem) -> Problem:
    """The search's bounds are in the objective's unit, and the frontier's limits in USD."""
    return replace(problem, objective=problem.objective.model_copy(update={"usd_weight": _Beyond.usd_weight}))


class _Faster:
    """Plans that are faster than all that are met by more than a tolerance. What they cost is not looked at."""

    usd_weight, time_weight, one = 0.0, 1.0, True
    time_share = 0.1
    rivals = 1

    def __init__(self, tolerance: float, beyond: _Beyond, objective: Objective) -> None:
        self._tolerance, self._beyond, self._objective = tolerance, beyond, objective

    @property
    def known(self) -> bool:
        return self._beyond.known

    def limit(self, low_s: float) -> float:
        points = self._beyond.points
        return points[0].iteration_s / (1 + self._tolerance) * _ABOVE if points else inf

    def longest_s(self, least_rate: float) -> float:
        return self.limit(0.0) / least_rate

    def meet(self, problem: Problem, stages: Sequence[StageCosts]) -> None:
        self._beyond.meet(replace(problem, objective=self._objective), stages)


def _fastest_s(problems: Sequence[Problem], goal: _Beyond, tolerance: float, time_limit_s: float) -> float:
    """No plan is faster; infinite when there is no plan.

    That is proven first, as the search by cost has no limit where no plan as fast is met.
    """
    faster = _Faster(tolerance, goal, problems[0].objective)
    by_time = Objective(usd_weight=0, time_weight=1)
    search = Search([replace(problem, objective=by_time) for problem in problems], faster, time_limit_s)
    search.run()
    return min([faster.limit(0.0), *(bound for _, bound in search.open_windows())])


def _proven(goal: _Beyond, tolerance: float, left: list[tuple[float, float]]) -> float:
    """The least tolerance for which what was not looked at holds no plan."""
    for step in range(_STEPS + 1):
        wider = tolerance * (1 / tolerance) ** (step / _STEPS)
        if all(usd * (1 + wider) >= goal.usd_at(low_s * (1 + wider)) for low_s, usd in left):
            return wider
    return inf
