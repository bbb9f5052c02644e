"""Good plans before any MILP: shortest paths for a range of iteration times, each improved step by step.

What is found only bounds the search; whether it is the best is the MILPs' to say.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

from planner.cost_model import StageCosts
from planner.problem import Problem
from planner.shortest_paths import Paths

Plan = tuple[StageCosts, ...]
_GUESSES = [1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0]
"""Iteration times for which the paths to begin from are the cheapest, as multiples of the least possible."""
_ROUNDS = 50


def _alone_s(costs: StageCosts) -> float:
    """What the stage would add to an iteration if no queue hid behind another one's."""
    queues = costs.forward_queue_s + costs.backward_queue_s
    return costs.forward.path_s + costs.backward.path_s + queues + costs.closing_s


def neighbours(problem: Problem, plan: Plan) -> Iterator[Plan]:
    """Admitted plans that differ in one stage, in two neighbours, or in two neighbours made one or one made two."""
    return filter(problem.admits, _neighbours(plan, _between(problem), list(problem.boundaries)))


def _between(problem: Problem) -> dict[tuple[int, int], list[StageCosts]]:
    """Candidates by first and end layer."""
    between: dict[tuple[int, int], list[StageCosts]] = defaultdict(list)
    for candidate in problem.candidates:
        between[candidate.first, candidate.end].append(candidate)
    return between


def _neighbours(plan: Plan, between: dict[tuple[int, int], list[StageCosts]], boundaries: list[int]) -> Iterator[Plan]:
    for index, stage in enumerate(plan):
        head, tail = plan[:index], plan[index + 1 :]
        for other in between[stage.first, stage.end]:
            yield (*head, other, *tail)
        for middle in boundaries:
            if stage.first < middle < stage.end:
                for left in between[stage.first, middle]:
                    for right in between[middle, stage.end]:
                        if left.memory_mb == stage.memory_mb or right.memory_mb == stage.memory_mb:
                            yield (*head, left, right, *tail)
        if not tail:
            continue
        follower, rest = tail[0], tail[1:]
        for other in between[stage.first, follower.end]:
            yield (*head, other, *rest)
        for middle in boundaries:
            if stage.first < middle < follower.end:
                for left in between[stage.first, middle]:
                    for right in between[middle, follower.end]:
                        yield (*head, left, right, *rest)


def first_plans(problem: Problem, paths: Paths, value: Callable[[Plan], float]) -> Iterator[Plan]:
    """Plans that the limits admit, each as good as its neighbours (by ``value``)."""
    between, boundaries = _between(problem), list(problem.boundaries)
    seen: set[Plan] = set()
    usd, time = problem.objective.usd_weight, problem.objective.time_weight
    per_gb = usd * problem.model.usd_per_gb_s
    least_s = min(paths.through(_alone_s), default=0.0)
    least_gb = min(paths.through(lambda c: c.total_gb), default=0.0)
    for guess in _GUESSES:

        def weight(c: StageCosts, seconds: float = guess * least_s) -> float:
            return seconds * per_gb * c.total_gb + usd * c.request_usd + (time + per_gb * least_gb) * _alone_s(c)

        begin = paths.shortest(weight)
        if begin is None:
            return
        plan = tuple(begin)
        if plan in seen or not problem.admits(plan):
            continue
        seen.add(plan)
        best = value(plan)
        for _ in range(_ROUNDS):
            better = min(
                (
                    (value(other), number, other)
                    for number, other in enumerate(_neighbours(plan, between, boundaries))
                    if problem.admits(other)
                ),
                default=None,
                key=lambda item: item[:2],
            )
            if better is None or better[0] >= best:
                break
            best, _, plan = better
        yield plan
