import random

import pytest

from planner.beginnings import begin
from planner.job import Limits, Objective
from planner.options import options_of
from planner.problem import build_problem
from planner.solver import solve
from runtime.schedule import ScheduleName
from tests.planner.brute_force import cost_model
from tests.planner.profiles import grown, random_profile


def space(seed, **limits):
    generator = random.Random(seed)
    profile = random_profile(generator, layers=6)
    objective = Objective(usd_weight=1, time_weight=10 ** generator.uniform(-5, -2))
    allowed = Limits(**{"memory_mb": [1769, 3538, 7076], "max_replicas": 2, "max_stages": 6, **limits})
    models = [cost_model(grown(profile, size)) for size in (8, 16)]
    return [build_problem(model, objective, allowed, schedule=ScheduleName.GPIPE) for model in models]


def best_of(problems, closely=True):
    found = list(begin([options_of(problem) for problem in problems], closely))
    assert all(problem.admits(stages) for problem, stages in found)
    return min((problem.value(stages, problem.iteration_s(stages)) for problem, stages in found), default=None)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_plan_met_is_nearly_the_optimum(seed):
    problems = space(seed)
    optimum = solve(problems).objective
    assert optimum <= best_of(problems) * (1 + 1e-9)
    assert best_of(problems) <= 1.1 * optimum


def test_looking_closely_loses_nothing():
    problems = space(4)
    assert best_of(problems) <= best_of(problems, closely=False)


def test_the_same_plans_in_the_same_order():
    problems = space(5)
    first, second = (list(begin([options_of(problem) for problem in problems], True)) for _ in range(2))
    assert first == second


def test_a_bounded_number_of_workers_is_kept_to_and_used():
    problems = space(6, max_concurrency=5, max_stages=3)
    assert best_of(problems) <= 1.02 * solve(problems).objective
