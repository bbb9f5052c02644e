"""Own stages against comparing each with each, and what they are for: plans without one have a counterpart."""

import random
from itertools import product

import pytest

from planner.covers import with_own_stages
from planner.job import Limits, Objective
from planner.options import options_of
from planner.problem import build_problem
from planner.variants import problems
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from runtime.spec import WireSpec, WireType
from tests.planner.brute_force import cost_model, every_plan, value
from tests.planner.profiles import random_profile


def space(seed, layers=4, **limits):
    generator = random.Random(seed)
    profile = random_profile(generator, layers)
    wires = [WireSpec(activations=wire, gradients=wire) for wire in WireType]
    models = [
        cost_model(profile, wire=wire, architecture=architecture) for wire, architecture in product(wires, Architecture)
    ]
    allowed = Limits(**{"memory_mb": [1769, 3538, 5120], "max_replicas": 2, "recompute": False, **limits})
    return problems(models, Objective(), allowed)


def test_a_cheaper_architecture_covers_all_of_the_other():
    found = with_own_stages([options_of(problem) for problem in space(1, schedule="gpipe")])
    assert {each.problem.model.architecture for each in found} == {Architecture.ARM64}
    (all_own,) = (each for each in found if each.own.all())
    assert all_own.problem.model.wire.gradients is WireType.BFLOAT16


def test_of_equals_the_first_is_left():
    (problem, *_) = space(2, schedule="gpipe")
    (left,) = with_own_stages([options_of(problem), options_of(problem)])
    assert left.own.all()


def test_a_longer_model_or_another_number_of_micro_batches_covers_nothing():
    profile = random_profile(random.Random(3), layers=3)
    made = [
        build_problem(cost_model(profile, global_batch_size=size), Objective(), Limits(), schedule=ScheduleName.GPIPE)
        for size in (64, 128)
    ]
    assert all(each.own.all() for each in with_own_stages([options_of(problem) for problem in made]))


@pytest.mark.parametrize("seed", range(6))
def test_a_plan_without_an_own_stage_is_no_better_than_the_best_with_one(seed):
    made = space(seed, layers=3, memory_mb=[1769, 3538], synchronisation=["pipelined"])
    owns = {}
    for options in with_own_stages([options_of(problem) for problem in made]):
        candidates = options.problem.candidates
        owns[id(options.problem)] = {candidates[row] for row in options.own.nonzero()[0]}
    best_with, best = float("inf"), float("inf")
    for problem in made:
        own = owns.get(id(problem), set())
        for plan in every_plan(problem):
            found = value(problem, plan)
            best = min(best, found)
            if own.intersection(plan):
                best_with = min(best_with, found)
    assert best_with == best
