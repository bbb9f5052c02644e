import random
from itertools import permutations

import numpy
import pytest

from planner.hulls import weights
from planner.job import Limits, Objective
from planner.labels import Labels, rounded, undominated
from planner.options import options_of
from planner.problem import build_problem
from planner.solver import solve
from planner.windows import Bounds, whole
from tests.planner.brute_force import cost_model
from tests.planner.profiles import random_profile


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


@pytest.mark.parametrize("seed", range(5))
def test_of_equal_stages_summed_in_another_order_one_is_kept(seed):
    generator = random.Random(seed)
    stages = [[generator.uniform(0.01, 10.0) for _ in range(8)] for _ in range(6)]
    sums = numpy.array([sum(map(numpy.array, order)) for order in permutations(stages)])
    assert len(numpy.unique(sums, axis=0)) > 1, "the last bits differ"
    assert len(undominated(sums, 1)) > 1
    assert len(undominated(rounded(sums), 1)) == 1


def test_what_differs_by_more_than_the_last_bits_stays_apart():
    one = numpy.array([[1.0, 3.7], [1.0 + 1e-11, 3.7 - 1e-11]])
    assert len(undominated(rounded(one), 1)) == 2
    assert rounded(one) == pytest.approx(one, rel=1e-12)
    assert rounded(numpy.zeros((1, 2))).tolist() == [[0.0, 0.0]]
