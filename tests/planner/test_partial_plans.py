import random

import pytest

from planner.job import Limits, Objective
from planner.milp import solve
from planner.partial_plans import at_most, prune
from planner.problem import build_problem
from tests.planner.profiles import random_limits, random_objective, random_profile
from tests.planner.test_milp import cost_model, every_plan, value


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("rivals", [1, 2])
def test_nothing_that_a_plan_within_the_limit_needs_is_dropped(seed, rivals):
    generator = random.Random(seed)
    model = cost_model(random_profile(generator, layers=3), platform=generator.choice(["aws-lambda", "embedded"]))
    limits = random_limits(generator).model_copy(update={"memory_mb": [3538, 10240]})
    problem = build_problem(model, random_objective(generator), limits)
    candidates = set(problem.candidates)
    values = sorted(value(problem, plan) for plan in every_plan(problem) if candidates.issuperset(plan))
    if len(values) < 2:
        return
    limit = values[min(len(values) - 1, 5)]
    left = prune(problem, at_most(problem, limit), rivals=rivals)
    kept = set(left.candidates)
    assert all(value(problem, plan) <= limit * (1 + 1e-12) and problem.admits(plan) for plan in left.plans)
    # The best ``rivals`` plans can still be made.
    remaining = sorted(value(problem, plan) for plan in every_plan(problem) if kept.issuperset(plan))
    assert remaining[:rivals] == pytest.approx(values[:rivals])


def test_too_many_partial_plans_leave_all_candidates():
    problem = build_problem(cost_model(random_profile(random.Random(1), layers=4)), Objective(), Limits())
    left = prune(problem, at_most(problem, float("inf")), most=10)
    assert left.candidates == problem.candidates and left.plans == ()


def test_a_limit_below_the_best_leaves_nothing():
    problem = build_problem(cost_model(random_profile(random.Random(1), layers=4)), Objective(), Limits())
    assert prune(problem, at_most(problem, 0.999 * solve(problem).objective)).candidates == ()


def test_a_deep_model_is_planned_exactly():
    profile = random_profile(random.Random(1), layers=40)
    limits = Limits(min_stages=3, min_workers=6, memory_mb=[1769, 3538, 7076, 10240])
    problem = build_problem(cost_model(profile), Objective(), limits)
    assert solve(problem).gap == 0
