"""Bounds with fines against every plan within the limits."""

import random

import numpy
import pytest

from planner.hulls import weights
from planner.job import Limits, Objective
from planner.options import options_of
from planner.problem import build_problem
from planner.windows import Bounds, whole
from tests.planner.brute_force import cost_model, every_plan, value
from tests.planner.profiles import random_profile


def bounded(seed, **limits):
    model = cost_model(random_profile(random.Random(seed), layers=5))
    allowed = Limits(memory_mb=[1769, 3538], max_replicas=3, recompute=False, synchronisation=["pipelined"], **limits)
    problem = build_problem(model, Objective(time_weight=1.0), allowed)
    plans = list(every_plan(problem))
    best = min(value(problem, plan) for plan in plans)
    seconds = min((value(problem, plan), problem.iteration_s(plan)) for plan in plans)[1]
    bounds = Bounds(whole(options_of(problem), 0.0, 2 * seconds), weights(seconds / (best / seconds)))
    return problem, plans, best, bounds


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limits", [{"max_stages": 2}, {"max_concurrency": 4}, {"max_stages": 2, "max_concurrency": 3}])
def test_no_plan_within_the_limits_is_below_the_bound_of_its_stages(seed, limits):
    problem, plans, best, bounds = bounded(seed, **limits)
    objectives = bounds.objectives(problem.objective.time_weight)
    by_stage = dict(zip(problem.candidates, objectives, strict=True))
    for plan in plans:
        found = value(problem, plan)
        if problem.iteration_s(plan) <= bounds.window.high_s and by_stage.keys() >= set(plan):
            assert max(by_stage[stage] for stage in plan) <= found * (1 + 1e-9)
    assert numpy.min(objectives) <= best * (1 + 1e-9)


def test_without_limits_that_bind_nothing_is_fined():
    assert not bounded(1)[3].fined
