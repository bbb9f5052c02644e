import random
from dataclasses import replace

import numpy

from planner.hulls import weights
from planner.job import Limits, Objective
from planner.labels import Labels
from planner.options import options_of
from planner.problem import build_problem
from planner.solver import solve
from planner.windows import Bounds, whole
from tests.planner.brute_force import cost_model, every_plan
from tests.planner.profiles import make_layer, make_profile, random_profile


def labels_of_all_plans():
    model = cost_model(random_profile(random.Random(1), layers=5))
    objective = Objective(usd_weight=1, time_weight=0.001)
    problem = build_problem(model, objective, Limits(memory_mb=[1769, 3538], max_replicas=2, max_stages=5))
    options = options_of(problem)
    window = whole(options, 0.0, 1e3)
    limit = solve([problem]).objective * (1 + 1e-9)
    bounds = Bounds(window, weights(1e4))
    return problem, Labels(bounds, window.rows, objective.time_weight, limit, rivals=1)


def test_what_is_found_of_a_whole_problem_is_the_optimum():
    problem, labels = labels_of_all_plans()
    (plan,) = labels.plans(1 << 62, late=lambda: False)
    stages = [problem.candidates[number] for number in plan]
    assert problem.value(stages, problem.iteration_s(stages)) == solve([problem]).objective


def test_nothing_is_said_when_plans_are_too_many_or_it_is_late():
    assert labels_of_all_plans()[1].plans(1, late=lambda: False) is None
    assert labels_of_all_plans()[1].plans(1 << 62, late=lambda: True) is None


def test_a_longer_backward_queue_is_worse_where_the_next_stage_closes_late():
    """Below the window's least queue, too: a later stage has that one, and the next stage's counts without it."""
    layers = [
        make_layer(forward_s=2.0, backward_s=4.0, output_mib=0.1, activation_mib=1),
        # Kept activations need two replicas, and so its many parameters must be summed.
        make_layer(forward_s=0.01, backward_s=0.01, output_mib=0.1, activation_mib=1400, parameter_mib=1200),
        make_layer(forward_s=0.1, backward_s=0.4, output_mib=0.1, activation_mib=1, parameter_mib=150),
    ]
    model = cost_model(make_profile(layers))
    limits = Limits(memory_mb=[10240], max_replicas=2, max_stages=3, recompute=False)
    problem = build_problem(model, Objective(usd_weight=0, time_weight=1), limits)
    options = options_of(problem)
    lows = tuple(float(each[options.first == 0].min()) for each in (options.forward_queue, options.backward_queue))
    apart = replace(whole(options, 0.0, 1e3), rows=numpy.flatnonzero(options.end - options.first == 1))
    window = apart.part(apart.rows, 0.0, 1e3, lows)
    last = options.backward_queue[options.first == 2]
    assert last.max() < window.queue[1] and last.min() < last.max()
    seconds = min(problem.iteration_s(plan) for plan in every_plan(problem) if len(plan) == 3)
    labels = Labels(Bounds(window, weights(1e4)), window.rows, 1.0, seconds * 1.5, rivals=1)
    plans = [[problem.candidates[number] for number in plan] for plan in labels.plans(1 << 62, late=lambda: False)]
    assert min(map(problem.iteration_s, plans)) == seconds
