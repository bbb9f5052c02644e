import random
from itertools import product

import numpy
import pytest

from planner import closings
from planner.closings import Closings, steps_after
from planner.hulls import weights
from planner.job import Limits, Objective
from planner.labels import Labels
from planner.options import options_of
from planner.problem import build_problem
from planner.windows import Bounds, whole
from runtime.schedule import ScheduleName
from tests.planner.brute_force import cost_model, every_plan, value
from tests.planner.profiles import random_profile

STEPS = 400


def paths_before(options, boundary, high_s):
    """(rate, F, N with own queues, N without) of all stages that may stand before it."""
    if boundary == 0:
        yield 0.0, 0.0, 0.0, 0.0
    for row in numpy.flatnonzero(options.end == boundary):
        own, bare = options.closing[row] + options.backward_queue[row], options.closing[row]
        for rate, fore, longest, closing in paths_before(options, int(options.first[row]), high_s):
            back = options.backward[row]
            yield (
                rate + options.rate[row] + options.requests[row] / high_s,
                fore + options.forward[row],
                back + max(longest, own),
                back + max(closing, bare),
            )


def problem_of(seed, objective, layers=5, schedule=ScheduleName.GPIPE, **limits):
    model = cost_model(random_profile(random.Random(seed), layers=layers))
    chosen = Limits(memory_mb=[1769, 3538, 7076], max_replicas=2, **limits)
    return build_problem(model, objective, chosen, schedule=schedule)


@pytest.mark.parametrize("seed", range(8))
def test_no_path_that_closes_in_time_costs_less(seed):
    options = options_of(problem_of(seed, Objective(usd_weight=1, time_weight=0), max_stages=4))
    generator = random.Random(seed)
    boundary = options.boundaries - 2
    most_s = max(fore + longest for _, fore, longest, _ in paths_before(options, boundary, 1.0))
    window = whole(options, 0.0, most_s * 1.3 + float(options.forward_queue.min()))
    paths = list(paths_before(options, boundary, window.high_s))
    rates = [rate for rate, *_ in paths]
    table = Closings(window, window.rows, most_s / min(rates), STEPS)
    shares, plain = [], []
    for _ in range(200):
        _, fore, longest, closing = generator.choice(paths)
        left_s, fore_s = (fore + longest) * generator.uniform(1, 1.2), fore * generator.uniform(1, 1.2)
        queue_s = generator.uniform(0, left_s - fore - closing)
        true = min(
            rate
            for rate, fore, longest, closing in paths
            if fore <= fore_s and fore + longest <= left_s and fore + closing + queue_s <= left_s
        )
        asked = (numpy.array([each]) for each in (boundary, left_s, queue_s, fore_s))
        (bound,) = table.rate(*asked)
        assert bound <= true * (1 + 1e-12)
        shares.append(bound / true)
        plain.append(min(rates) / true)
    assert numpy.mean(shares) > 0.95 > numpy.mean(plain), "nearly what it costs"


def test_where_no_path_is_in_time_nothing_can_stand():
    options = options_of(problem_of(1, Objective(usd_weight=1, time_weight=0)))
    window = whole(options, 0.0, 100.0)
    table = Closings(window, window.rows, 1e4, STEPS)
    least_s = min(options.forward[0], options.closing[0]) / 2
    for left_s, queue_s, fore_s in ((least_s, 0.0, 50.0), (50.0, 50.0, 50.0), (50.0, 0.0, -1.0), (-1.0, 0.0, 50.0)):
        rate = table.rate(numpy.array([1]), *(numpy.array([each]) for each in (left_s, queue_s, fore_s)))
        assert rate.tolist() == [numpy.inf]
    nothing = table.rate(numpy.array([0]), *(numpy.array([each]) for each in (0.0, 0.0, 0.0)))
    assert nothing.tolist() == [0.0], "before the first layer"


@pytest.mark.parametrize(
    ("seed", "schedule", "limits"),
    list(product(range(6), ScheduleName, [{}, {"min_stages": 2, "max_concurrency": 4}])),
)
def test_with_them_from_the_first_partial_plan_on_the_optimum_is_found(monkeypatch, seed, schedule, limits):
    monkeypatch.setattr(closings, "_STEPS", {0: 1_000})
    objective = Objective(usd_weight=1, time_weight=random.Random(seed).choice([0, 1e-5, 1e-3]))
    problem = problem_of(seed, objective, layers=3, schedule=schedule, **limits)
    best = min(every_plan(problem), key=lambda plan: value(problem, plan))
    limit, seconds = value(problem, best) * (1 + 1e-6), problem.iteration_s(best)
    window = whole(options_of(problem), seconds * (1 - 1e-6), seconds * (1 + 1e-6))
    bounds = Bounds(window, weights(seconds * objective.time_weight + 1e4))
    labels = Labels(bounds, window.rows, objective.time_weight, limit, rivals=1)
    plans = labels.plans(1 << 62, late=lambda: False)
    found = [[problem.candidates[number] for number in plan] for plan in plans]
    assert min(value(problem, plan) for plan in found) == value(problem, best)


def test_a_table_is_worth_its_time_once_there_are_many_partial_plans():
    assert steps_after(100, 1_000) == 0
    assert 0 < steps_after(10_000, 1_000) < steps_after(100_000, 1_000)
