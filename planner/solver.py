"""The best plan, exactly, and how far it is proven to be the best."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from planner.aims import Aim, Quantity
from planner.problem import Problem
from planner.search import Search
from planner.stage_costs import StageCosts
from runtime.errors import FuncpipeError, UserInputError

TOLERANCE = 1e-9
"""Relative: a plan that is better by less need not be found. Bounds are floats, and off by less than that."""
TIME_LIMIT_S = 240.0
"""Of a whole search, then the best plan so far is taken and its proven gap reported. Plans are reproducible only when
the limit is not reached."""


@dataclass(frozen=True)
class Solution:
    """A plan, its closed-form figures, and how far from the optimum it can be at most (relative)."""

    problem: Problem
    stages: tuple[StageCosts, ...]
    iteration_s: float
    usd: float
    objective: float
    gap: float


class _Optimum:
    """The plan of the least value."""

    one = True

    def __init__(self, aim: Aim, excluded: Collection[StageCosts] | None, known: float, tolerance: float) -> None:
        self.usd_weight, self.time_weight = aim.objective.usd_weight, aim.objective.time_weight
        self.time_share = 0.1 if aim.quantity is Quantity.OBJECTIVE else 1.0
        self._aim, self._bar, self._better = aim, known, 1 - tolerance
        self._excluded = None if excluded is None else frozenset(excluded)
        self.rivals = 1 if excluded is None else 2
        self.best: Solution | None = None

    @property
    def known(self) -> bool:
        return self.best is not None or self._bar < inf

    @property
    def wanted(self) -> float:
        """Plans are wanted with a value below."""
        best = self._bar if self.best is None else min(self.best.objective, self._bar)
        return best * self._better

    def limit(self, low_s: float) -> float:
        return self._aim.limit(self.wanted, low_s)

    def longest_s(self, least_rate: float) -> float:
        return self._aim.longest_s(self.wanted, least_rate)

    def meet(self, problem: Problem, stages: Sequence[StageCosts]) -> None:
        iteration_s = problem.iteration_s(stages)
        value = self._aim.value(iteration_s, problem.value(stages, iteration_s))
        best = self._bar if self.best is None else self.best.objective
        if value < best and self._excluded != frozenset(stages):
            usd = problem.model.usd(stages, iteration_s)
            self.best = Solution(problem, tuple(stages), iteration_s, usd, value, 0.0)

    def proven(self, windows: Iterable[tuple[float, float]]) -> float:
        """The least value of a plan in windows of which the least time and amount are known."""
        return min((self._aim.value(low_s, bound) for low_s, bound in windows), default=inf)


def solve(
    problems: Sequence[Problem],
    *,
    aim: Aim | None = None,
    excluded: Collection[StageCosts] | None = None,
    known: float = inf,
    tolerance: float = TOLERANCE,
    time_limit_s: float = TIME_LIMIT_S,
) -> Solution | None:
    """The best plan of all problems, which have one objective; of equals always the same one.

    Plans that another problem betters or equals stage for stage (``covers``) are not looked at.

    Args:
        aim: what is best, instead of the problems' objective; then a solution's objective is its value.
        excluded: stages of a plan that is not wanted; None is the answer when there is no other.
        known: value of a plan; None is the answer when no better one is found.
        tolerance: relative; a plan that is better by less need not be found.

    Raises:
        UserInputError: no plan is within the job's limits.
        FuncpipeError: the time limit passed before any plan was found.
    """
    asked = aim or Aim(problems[0].objective)
    goal = _Optimum(asked, excluded, known, tolerance)
    search = Search([replace(problem, objective=asked.objective) for problem in problems], goal, time_limit_s)
    search.run()
    proven = goal.proven(search.open_windows())
    best = goal.best
    if best is None:
        if known < inf:
            return None
        if proven < inf:
            raise FuncpipeError(
                "the search found no plan within its time limit. Allow fewer sizes in limits.memory_mb or fewer "
                "replicas."
            )
        if excluded is None:
            raise UserInputError(out_of_reach(problems[0]))
        return None
    gap = 0.0 if proven >= goal.wanted else 1 - proven / best.objective
    return replace(best, gap=gap)


def out_of_reach(problem: Problem) -> str:
    """That no plan is within the limits, and what would help."""
    limits, model = problem.limits, problem.model
    return (
        f"no plan is within the limits: {model.layer_count} layers, {model.micro_batches} micro-batches "
        f"(a stage has no more replicas than those), min_stages {limits.min_stages}, max_stages {limits.max_stages}, "
        f"min_workers {limits.min_workers}, max_replicas {limits.max_replicas}, memory_mb {limits.memory_mb}, "
        f"max_concurrency {limits.max_concurrency}. More stages or replicas, larger memory sizes or a smaller "
        "micro_batch_size would help; where min_workers is out of reach, lower it."
    )
