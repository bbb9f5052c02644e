"""The best plan, exactly: interval MILPs (PuLP + HiGHS) inside a branch and bound over the iteration time.

One binary per candidate stage; the chosen ones are a path over the layer boundaries. For any plan

    f = x·T + R,   x = α1·price·GB + α2,   T = seconds per iteration,   R = α1·USD of requests

and GB, R and T's lower envelope are linear in the binaries; only x·T is not. (Without R, f would be quasi-concave and
a walk along the convex hull of (GB, T) would do; requests to storage cost as much as compute here, so they stay.) On a
window a ≤ T ≤ b the product is bounded from below by McCormick's two planes

    x·T ≥ a·x + x_min·(T - a),      x·T ≥ b·x - x_max·(b - T)

which are exact at T = a and at T = b. So a MILP per window gives a lower bound and a plan s; the window is then split
at T(s), where the bound becomes exact for s, until no window can hold anything better than the best plan met. Before
any MILP partial plans are searched, which is enough where they stay few; before each, the candidates that none within
its window can use are dropped (shortest paths).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from time import monotonic

import highspy
import pulp

from planner.cost_model import StageCosts
from planner.first_plans import first_plans, neighbours
from planner.partial_plans import MOST, Pruned, at_most, least_objective, prune
from planner.problem import Problem
from planner.shortest_paths import Paths
from runtime.errors import FuncpipeError, UserInputError

TOLERANCE = 1e-6
"""Relative: two plans nearer than this are equally good."""
TIME_LIMIT_S = 45.0
"""Of a whole search, then the best plan so far is taken and its proven gap reported. Plans are reproducible only when
the limit is not reached; that needs more partial plans than ``partial_plans.MOST``."""
_SHARE_OF_TIME = 0.8
"""Of the limit, for partial plans; the rest is left to MILPs."""
_DEEPENING = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Between a lower bound of the objective and the best plan met, where to look for plans first."""
FEW = 500
"""So many candidates are searched at once."""


@dataclass(frozen=True)
class Solution:
    """A plan, its closed-form figures, and how far from the optimum it can be at most (relative)."""

    stages: tuple[StageCosts, ...]
    iteration_s: float
    usd: float
    objective: float
    gap: float


@dataclass
class _Search:
    problem: Problem
    excluded: frozenset[StageCosts] | None
    deadline: float
    paths: Paths
    best: Solution | None = None
    lowest: float = 0.0
    """No plan has a lower objective."""
    numbers: count = field(default_factory=count)

    @property
    def limit(self) -> float:
        return self.best.objective if self.best else float("inf")

    def meet(self, stages: Sequence[StageCosts]) -> float:
        """Notes a plan; returns its iteration time."""
        model = self.problem.model
        iteration_s = model.iteration_s(stages)
        value = self.problem.value(stages, iteration_s)
        if self.excluded != frozenset(stages) and value < self.limit:
            self.best = Solution(tuple(stages), iteration_s, model.usd(stages, iteration_s), value, 0.0)
        return iteration_s


@dataclass(frozen=True)
class _Window:
    """Plans with an iteration time between ``low_s`` and ``high_s``."""

    low_s: float
    high_s: float


@dataclass(frozen=True)
class _Answer:
    """Of one MILP: a lower bound for the window, and the plan found (None when the window holds none)."""

    bound: float
    stages: tuple[StageCosts, ...] | None


class _Weights:
    """The objective's parts of a candidate: x without α2, and R."""

    def __init__(self, problem: Problem) -> None:
        self.usd = problem.objective.usd_weight
        self.time = problem.objective.time_weight
        self.per_gb = self.usd * problem.model.usd_per_gb_s

    def slope(self, costs: StageCosts) -> float:
        return self.per_gb * costs.total_gb

    def requests(self, costs: StageCosts) -> float:
        return self.usd * costs.request_usd


def _least_s(costs: StageCosts) -> float:
    """What a stage adds to any iteration time at least, beyond the paths of all stages."""
    return costs.forward_queue_s + costs.backward_queue_s


def _survivors(search: _Search, window: _Window, slope_min: float) -> list[StageCosts]:
    """Candidates that a plan within the window and better than the best met may use."""
    problem, weights, paths = search.problem, _Weights(search.problem), search.paths

    def path_s(c: StageCosts) -> float:
        return c.forward.path_s + c.backward.path_s

    def linear(c: StageCosts) -> float:
        return window.low_s * weights.slope(c) + weights.requests(c) + slope_min * path_s(c)

    fastest, cheapest = paths.through(path_s), paths.through(linear)
    constant = window.low_s * (weights.time - slope_min)
    limit = search.limit * (1 + TOLERANCE)
    return [
        c
        for c, quickest, lowest in zip(problem.candidates, fastest, cheapest, strict=True)
        if quickest + _least_s(c) <= window.high_s * (1 + TOLERANCE)
        and constant + lowest + slope_min * _least_s(c) <= limit
    ]


def _solve_window(search: _Search, window: _Window) -> _Answer:
    problem, limits, weights = search.problem, search.problem.limits, _Weights(search.problem)
    infeasible = _Answer(float("inf"), None)
    slope_min = weights.time + min(search.paths.through(weights.slope), default=float("inf"))
    if slope_min == float("inf"):
        return infeasible
    if slope_min > 0:  # a plan better than the best met cannot take longer than this
        longest_s = max(window.low_s, search.limit * (1 + TOLERANCE) / slope_min)
        window = _Window(window.low_s, min(window.high_s, longest_s))
    candidates = _survivors(search, window, slope_min)
    if not candidates:
        return infeasible
    slope_max = min(
        weights.time + weights.per_gb * limits.max_concurrency * max(c.total_gb / c.replicas for c in candidates),
        search.limit * (1 + TOLERANCE) / window.low_s if window.low_s else float("inf"),
    )
    scale = search.limit if search.best else 1.0
    lp = pulp.LpProblem("stages", pulp.LpMinimize)
    y = [lp.add_variable(f"y{n}", cat=pulp.LpBinary) for n in range(len(candidates))]

    def total(of, keep=lambda c: True):
        return pulp.LpAffineExpression([(y[n], of(c)) for n, c in enumerate(candidates) if keep(c)])

    iteration = lp.add_variable("iteration_s", lowBound=window.low_s, upBound=window.high_s)
    product = lp.add_variable("product", lowBound=0)
    forward_queue = lp.add_variable("forward_queue_s", lowBound=0)
    backward_longest = lp.add_variable("backward_longest_s", lowBound=0)
    lp += product + total(lambda c: weights.requests(c) / scale), "objective"

    last = problem.boundaries[-1]
    for boundary in problem.boundaries:
        leave = total(lambda c: 1, lambda c: c.first == boundary)  # noqa: B023 - used at once
        enter = total(lambda c: 1, lambda c: c.end == boundary)  # noqa: B023
        lp += leave - enter == (boundary == 0) - (boundary == last), f"path_at_{boundary}"
    lp += total(lambda c: 1) >= limits.min_stages, "min_stages"
    lp += total(lambda c: 1) <= limits.max_stages, "max_stages"
    lp += total(lambda c: c.replicas) >= limits.min_workers, "min_workers"
    lp += total(lambda c: c.replicas) <= limits.max_concurrency, "max_concurrency"

    queue_behind = None
    for boundary in reversed(problem.boundaries[:-1]):
        covers = [c.first <= boundary < c.end for c in candidates]
        cover = {id(c) for c, inside in zip(candidates, covers, strict=True) if inside}

        def inside(c, cover=cover):
            return id(c) in cover

        lp += forward_queue >= total(lambda c: c.forward_queue_s, inside), f"forward_queue_at_{boundary}"
        queue = lp.add_variable(f"backward_queue_s_{boundary}", lowBound=0)
        lp += queue >= total(lambda c: c.backward_queue_s, inside), f"backward_queue_at_{boundary}"
        if queue_behind is not None:
            lp += queue >= queue_behind, f"backward_queue_behind_{boundary}"
        queue_behind = queue
        path = total(lambda c: c.backward.path_s, lambda c: c.end > boundary)  # noqa: B023
        closing = total(lambda c: c.closing_s, inside)
        lp += backward_longest >= path + queue + closing, f"backward_at_{boundary}"
    lp += iteration >= total(lambda c: c.forward.path_s) + forward_queue + backward_longest, "iteration_time"
    if problem.model.platform.shared_cores:
        cores = problem.model.profile.host_cores
        lp += iteration >= total(lambda c: c.work_s / cores), "shared_cores"

    slope = total(lambda c: weights.slope(c) / scale) + weights.time / scale
    lp += product >= window.low_s * slope + slope_min / scale * (iteration - window.low_s), "product_from_low"
    if slope_max < float("inf"):
        high = window.high_s
        lp += product >= high * slope - slope_max / scale * (high - iteration), "product_from_high"
    if search.excluded is not None:
        chosen = total(lambda c: 1, lambda c: c in search.excluded)
        lp += (
            chosen - total(lambda c: 1, lambda c: c not in search.excluded) <= len(search.excluded) - 1,
            "another_plan",
        )

    remaining = max(0.1, search.deadline - monotonic())
    solver = pulp.HiGHS(msg=False, threads=1, random_seed=0, gapRel=TOLERANCE / 2, gapAbs=0.0, timeLimit=remaining)
    lp.solve(solver)
    highs = lp.solverModel
    status, info = highs.getModelStatus(), highs.getInfo()
    if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
        return infeasible
    if status not in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kTimeLimit):
        raise FuncpipeError(
            f"the solver stopped with {highs.modelStatusToString(status)}; please report the job and profile"
        )
    bound = max(0.0, info.mip_dual_bound) * scale
    if info.primal_solution_status != highspy.kSolutionStatusFeasible:
        return _Answer(bound, None)
    stages = sorted(
        (c for c, variable in zip(candidates, y, strict=True) if variable.value() > 0.5), key=lambda c: c.first
    )
    return _Answer(bound, tuple(stages))


def _whole_range(problem: Problem, paths: Paths) -> _Window:
    """A window that holds every plan: from the least path to the sum of everything's worst."""
    least = paths.through(lambda c: c.forward.path_s + c.backward.path_s)
    worst = max(c.forward.path_s + c.backward.path_s + _least_s(c) + c.closing_s + c.work_s for c in problem.candidates)
    return _Window(min(least), worst * (len(problem.boundaries) - 1))


def solve(
    problem: Problem,
    *,
    excluded: Sequence[StageCosts] | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    most_partial_plans: int = MOST,
) -> Solution | None:
    """The best plan, or with ``excluded`` the best other than that one; None when there is no other.

    Args:
        most_partial_plans: with 0, all candidates are left to the MILPs.

    Raises:
        UserInputError: no plan is within the job's limits.
        FuncpipeError: the time limit passed before any plan was found.
    """
    paths = Paths(problem.boundaries, problem.candidates, problem.limits)
    search = _Search(problem, frozenset(excluded) if excluded else None, monotonic() + time_limit_s, paths)
    for plan in first_plans(problem, paths, lambda stages: problem.value(stages, problem.model.iteration_s(stages))):
        search.meet(plan)
    if excluded:
        for plan in neighbours(problem, tuple(excluded)):
            search.meet(plan)
    left = _among_partial_plans(search, 2 if excluded else 1, most_partial_plans)
    if left.complete and search.best is not None:
        return search.best
    problem = replace(problem, candidates=left.candidates)
    search.problem, search.paths = problem, Paths(problem.boundaries, problem.candidates, problem.limits)
    root = _whole_range(problem, search.paths) if problem.candidates else _Window(0.0, 0.0)
    queue: list[tuple[float, int, _Window]] = [(0.0, next(search.numbers), root)]
    proven = float("inf")
    while queue and monotonic() < search.deadline:
        bound, _, window = heapq.heappop(queue)
        if bound >= search.limit * (1 - TOLERANCE):
            break
        answer = _solve_window(search, window)
        bound = max(bound, answer.bound)
        if answer.stages is None:
            if answer.bound < float("inf"):
                proven = min(proven, bound)
            continue
        met_s = search.meet(answer.stages)
        if bound >= search.limit * (1 - TOLERANCE):
            continue
        if not window.low_s * (1 + TOLERANCE / 10) < met_s <= window.high_s:
            proven = min(proven, bound)
            continue
        below = _Window(window.low_s, met_s * (1 - TOLERANCE / 10))
        above = _Window(met_s, window.high_s)
        for part in (below, above):
            heapq.heappush(queue, (bound, next(search.numbers), part))
    if search.best is None:
        return _nothing(search, bool(queue))
    proven = max(search.lowest, min([proven, *(bound for bound, _, _ in queue)]))
    gap = max(0.0, 1 - proven / search.limit)
    best = search.best
    return Solution(best.stages, best.iteration_s, best.usd, best.objective, 0.0 if gap <= 2 * TOLERANCE else gap)


def _among_partial_plans(search: _Search, rivals: int, most: int) -> Pruned:
    """Notes the best plan, if partial plans stay few; else the candidates that are left to MILPs.

    A low limit is quickly searched, and what it lets through is the best of all. So limits rise from a lower bound of
    the objective to the best plan met.
    """
    problem, met = search.problem, search.limit * (1 + TOLERANCE)
    about_s = search.best.iteration_s if search.best and search.best.iteration_s else 1.0
    lowest = search.lowest = least_objective(problem, met, about_s) if most else 0.0
    deadline = monotonic() + _SHARE_OF_TIME * (search.deadline - monotonic())
    many = len(problem.candidates) > FEW and most and met < float("inf")
    for share in _DEEPENING if many else (1.0,):
        limit = lowest + share * (met - lowest) if share < 1.0 else met
        left = prune(problem, at_most(problem, limit), about_s=about_s, rivals=rivals, most=most, deadline=deadline)
        for plan in left.plans:
            search.meet(plan)
        if not left.complete or search.limit <= limit:
            break
        search.lowest = limit
    return left


def _nothing(search: _Search, unfinished: bool) -> None:
    if unfinished:
        raise FuncpipeError(
            "the solver found no plan within its time limit. Allow fewer sizes in limits.memory_mb or fewer replicas."
        )
    if search.excluded is not None:
        return
    limits, model = search.problem.limits, search.problem.model
    raise UserInputError(
        f"no plan is within the limits: {model.layer_count} layers, {model.micro_batches} micro-batches "
        f"(a stage has no more replicas than those), min_stages {limits.min_stages}, max_stages {limits.max_stages}, "
        f"min_workers {limits.min_workers}, max_replicas {limits.max_replicas}, memory_mb {limits.memory_mb}, "
        f"max_concurrency {limits.max_concurrency}. More stages or replicas, larger memory sizes or a smaller "
        "micro_batch_size would help; where min_workers is out of reach, lower it."
    )
