"""Cuts between merged layers, moved to where they are best between all: layers are merged anew, finely about the cuts.

Around each cut of a plan so many boundaries are allowed at steps of so many layers; the best plan between these has
the next cuts, and where none moves, the step is halved, down to a single layer. A plan's own cuts are always among
those allowed, so no plan is worse than the one before it. A search is for plans that are better by a share (``gain``):
what lies below is soon told, and no clock need end it.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf

from planner.aims import Aim
from planner.problem import MAX_GROUPS, build_problem
from planner.solver import Solution, solve

GAIN = 0.0005
"""Where nothing else is said; a smaller one takes longer."""
REACH = 8
"""Steps to either side of a cut, at most; as many as there are groups for."""


def _around(cuts: Sequence[int], step: int, layers: int, groups: int) -> list[int]:
    """Boundaries to allow, at least one to either side of each cut."""
    found = {0, layers, *cuts}
    wider = found
    for reach in reversed(range(1, REACH + 1)):
        more = {cut + step * times for cut in cuts for times in range(-reach, reach + 1)}
        wider = found | {at for at in more if 0 < at < layers}
        if len(wider) - 1 <= groups:
            break
    return sorted(wider)


def refined(
    found: Solution,
    aim: Aim | None = None,
    groups: int = MAX_GROUPS,
    degrees: Sequence[int] | None = None,
    gain: float = GAIN,
) -> Solution:
    """The plan with its cuts moved; ``found`` itself where nothing was merged or nothing is better.

    The gap is to the best plan between the merged layers, as before.

    Args:
        found: its objective is what ``aim`` makes of it.
        aim: what is best, instead of the problem's objective.
        degrees: numbers of replicas to try, instead of ``replica_choices``.
        gain: relative; a plan that is better by less is not searched for.
    """
    problem, layers = found.problem, found.problem.model.layer_count
    merged = [end - first for first, end in pairwise(problem.boundaries)]
    bound = (1 - found.gap) * found.objective
    step, best = max(merged) // 2, found
    while step:
        cuts = [stage.end for stage in best.stages[:-1]]
        boundaries = _around(cuts, step, layers, groups)
        finer = build_problem(
            problem.model, problem.objective, problem.limits, groups, degrees, problem.schedule, boundaries
        )
        better = solve([finer], aim=aim, known=best.objective, tolerance=gain, time_limit_s=inf)
        if better is None or better.objective > best.objective * (1 - gain):
            step //= 2
        if better is not None:
            best = replace(better, problem=problem)
    return replace(best, gap=max(0.0, 1 - bound / best.objective)) if best is not found else found
