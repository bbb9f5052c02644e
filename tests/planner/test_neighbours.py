import random
from itertools import pairwise
from math import inf

import numpy
import pytest

from planner.job import Limits, Objective
from planner.neighbours import Neighbourhood, better
from planner.options import options_of
from planner.problem import build_problem
from runtime.schedule import ScheduleName
from tests.planner.brute_force import cost_model, every_plan
from tests.planner.profiles import random_profile


def options(seed, schedule=ScheduleName.GPIPE, platform="aws-lambda", layers=5, **limits):
    model = cost_model(random_profile(random.Random(seed), layers=layers), platform=platform)
    allowed = Limits(**{"memory_mb": [1769, 3538, 7076], "max_replicas": 2, "recompute": False, **limits})
    return options_of(build_problem(model, Objective(usd_weight=1, time_weight=0), allowed, schedule=schedule))


def some_plans(found, generator, count):
    plans = []
    for _ in range(count):
        plan, node = [], 0
        while node < found.boundaries - 1:
            plan.append(int(generator.choice(numpy.flatnonzero(found.first == node))))
            node = int(found.end[plan[-1]])
        plans.append(tuple(plan))
    return plans


def rows_of(plans):
    rows = numpy.full((len(plans), max(map(len, plans)) + 1), -1)
    for row, plan in zip(rows, plans, strict=True):
        row[: len(plan)] = plan
    return rows


@pytest.mark.parametrize("schedule", ScheduleName)
@pytest.mark.parametrize("platform", ["aws-lambda", "embedded"])
def test_figures_are_those_of_the_cost_model(schedule, platform):
    found = options(3, schedule, platform, max_stages=4, max_concurrency=5)
    plans = some_plans(found, random.Random(1), 200)
    problem, refused = found.problem, 0
    for plan, seconds, amount in zip(plans, *Neighbourhood(found).figures(rows_of(plans)), strict=True):
        stages = [problem.candidates[number] for number in plan]
        if not problem.admits(stages):
            assert (seconds, amount) == (inf, inf)
            refused += 1
            continue
        expected = problem.iteration_s(stages)
        assert (seconds, amount) == (pytest.approx(expected), pytest.approx(problem.model.usd(stages, expected)))
    assert 0 < refused < len(plans)


def test_changes_are_whole_plans():
    found = options(4)
    near = Neighbourhood(found)
    kinds = set()
    for plan in some_plans(found, random.Random(2), 20):
        for row in near.of(plan):
            changed = [int(number) for number in row if number >= 0]
            assert found.first[changed[0]] == 0 and found.end[changed[-1]] == found.boundaries - 1
            assert all(found.end[a] == found.first[b] for a, b in pairwise(changed))
            kinds.add(len(changed) - len(plan))
    assert kinds == {-1, 0, 1}


def test_what_is_found_is_nearly_the_frontier():
    found = options(5, layers=4)
    problem = found.problem
    begin = some_plans(found, random.Random(3), 1)
    near = Neighbourhood(found)
    seconds, amounts = near.figures(rows_of([*begin, *better(found, begin)]))
    for plan in every_plan(problem):
        iteration_s = problem.iteration_s(plan)
        usd = problem.model.usd(plan, iteration_s)
        assert any((seconds <= iteration_s * 1.03) & (amounts <= usd * 1.03))
    assert list(better(found, begin)) == list(better(found, begin))
