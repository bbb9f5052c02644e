"""The best plan, exactly, and how far it is proven to be the best."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf

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
    """The plan of the least objective."""

    one = True
    time_share = 0.1

    def __init__(self, problem: Problem, excluded: Collection[StageCosts] | None) -> None:
        self.usd_weight, self.time_weight = problem.objective.usd_weight, problem.objective.time_weight
        self._excluded = None if excluded is None else frozenset(excluded)
        self.rivals = 1 if excluded is None else 2
        self.best: Solution | None = None

    def limit(self, low_s: float) -> float:
        return inf if self.best is None else self.best.objective * (1 - TOLERANCE)

    def longest_s(self, least_rate: float) -> float:
        return self.limit(0.0) / least_rate if least_rate > 0 else inf

    def meet(self, problem: Problem, stages: Sequence[StageCosts]) -> None:
        iteration_s = problem.iteration_s(stages)
        value = problem.value(stages, iteration_s)
        better = self.best is None or value < self.best.objective
        if better and self._excluded != frozenset(stages):
            usd = problem.model.usd(stages, iteration_s)
            self.best = Solution(problem, tuple(stages), iteration_s, usd, value, 0.0)


def solve(
    problems: Sequence[Problem],
    *,
    excluded: Collection[StageCosts] | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Solution | None:
    """The best plan of all problems, which have one objective; of equals always the same one.

    Plans that another problem betters or equals stage for stage (``covers``) are not looked at.

    Args:
        excluded: stages of a plan that is not wanted; None is the answer when there is no other.

    Raises:
        UserInputError: no plan is within the job's limits.
        FuncpipeError: the time limit passed before any plan was found.
    """
    goal = _Optimum(problems[0], excluded)
    search = Search(problems, goal, time_limit_s)
    search.run()
    proven = min((bound for _, bound in search.open_windows()), default=inf)
    best = goal.best
    if best is None:
        if proven < inf:
            raise FuncpipeError(
                "the search found no plan within its time limit. Allow fewer sizes in limits.memory_mb or fewer "
                "replicas."
            )
        if excluded is None:
            raise UserInputError(out_of_reach(problems[0]))
        return None
    gap = 0.0 if proven >= goal.limit(0.0) else 1 - proven / best.objective
    return Solution(best.problem, best.stages, best.iteration_s, best.usd, best.objective, gap)


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
