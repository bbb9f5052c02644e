import random

import pytest

from planner.frontier import find_frontier
from planner.job import Limits, Objective
from planner.problem import build_problem
from planner.search import Search
from planner.solver import solve
from runtime.errors import UserInputError
from tests.planner.brute_force import cost_model, every_plan
from tests.planner.profiles import make_layer, make_profile, random_limits, random_profile


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("tolerance", [0.05, 1e-9])
def test_no_plan_is_better_than_the_frontier_by_more_than_the_tolerance(seed, tolerance):
    generator = random.Random(seed)
    model = cost_model(random_profile(generator, layers=4), platform=generator.choice(["aws-lambda", "embedded"]))
    limits = random_limits(generator).model_copy(update={"memory_mb": [3538, 10240]})
    problem = build_problem(model, Objective(), limits)
    plans = list(every_plan(problem))
    if not plans:
        with pytest.raises(UserInputError, match="no plan is within the limits"):
            find_frontier([problem], tolerance)
        return
    frontier = find_frontier([problem], tolerance)
    assert frontier.tolerance <= tolerance
    for plan in plans:
        seconds = model.iteration_s(plan)
        usd = model.usd(plan, seconds)
        slack = 1 + tolerance + 1e-9
        assert any(p.iteration_s <= seconds * slack and p.usd <= usd * slack for p in frontier.points)
    for point in frontier.points:
        assert problem.admits(point.stages)
        assert point.iteration_s == model.iteration_s(point.stages)
    ordered = [(point.iteration_s, -point.usd) for point in frontier.points]
    assert ordered == sorted(set(ordered)), "from fast to cheap"


def test_the_ends_are_the_fastest_and_the_cheapest_plan():
    model = cost_model(make_profile([make_layer(activation_mib=3) for _ in range(8)]))
    frontier = find_frontier([build_problem(model, Objective(), Limits())], 1e-6)
    fastest = solve([build_problem(model, Objective(usd_weight=0, time_weight=1), Limits())])
    cheapest = solve([build_problem(model, Objective(usd_weight=1, time_weight=0), Limits())])
    assert frontier.points[0].iteration_s == pytest.approx(fastest.iteration_s, rel=2e-6)
    assert frontier.points[-1].usd == pytest.approx(cheapest.usd, rel=2e-6)


@pytest.mark.parametrize("usd_weight", [0.0, 0.1, 30.0])
def test_the_weights_of_the_jobs_objective_do_not_matter(usd_weight):
    model = cost_model(random_profile(random.Random(5), layers=5))
    frontiers = [
        find_frontier([build_problem(model, Objective(usd_weight=weight), Limits(max_replicas=2))], 1e-9)
        for weight in (1.0, usd_weight)
    ]
    assert [[(p.stages, p.usd) for p in each.points] for each in frontiers[1:]] == [
        [(p.stages, p.usd) for p in frontiers[0].points]
    ]
    assert frontiers[1].tolerance <= 1e-9


def test_too_many_partial_plans_are_told():
    model = cost_model(random_profile(random.Random(2), layers=6))
    assert find_frontier([build_problem(model, Objective(), Limits())], 1e-6, time_limit_s=0.0).tolerance > 1e-6


@pytest.mark.parametrize("seed", range(8))
def test_the_search_begins_where_no_plan_is_faster(seed, monkeypatch):
    generator = random.Random(seed)
    limits = random_limits(generator).model_copy(update={"memory_mb": [3538, 10240]})
    problem = build_problem(cost_model(random_profile(generator, layers=4)), Objective(), limits)
    fastest_s = min((problem.iteration_s(plan) for plan in every_plan(problem)), default=None)
    begun = []

    class Noted(Search):
        def __init__(self, problems, goal, time_limit_s, low_s=0.0):
            begun.append(low_s)
            super().__init__(problems, goal, time_limit_s, low_s)

    monkeypatch.setattr("planner.frontier.Search", Noted)
    if fastest_s is None:
        with pytest.raises(UserInputError, match="no plan is within the limits"):
            find_frontier([problem], 0.05)
        assert begun == [0.0], "nothing is left to look for"
        return
    found = find_frontier([problem], 0.05)
    assert fastest_s / 1.06 <= begun[1] <= fastest_s
    assert all(point.problem == problem for point in found.points), "with the objective that was asked"
