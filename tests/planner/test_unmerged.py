import random
from math import inf

import pytest

from planner.aims import Aim, Quantity
from planner.job import Limits, Objective
from planner.problem import build_problem
from planner.solver import solve
from planner.unmerged import lower_bound
from planner.variants import problems
from runtime.manifest import Architecture
from runtime.spec import WireSpec, WireType
from runtime.synchronisation import Algorithm
from tests.planner.brute_force import cost_model, every_plan, value
from tests.planner.front_to_back import least_objective
from tests.planner.profiles import grown, random_objective, random_profile

GROUPS = 5


def some_limits(generator: random.Random, **changes) -> Limits:
    memory_mb = sorted(generator.sample([512, 1024, 1769, 3538, 7076, 10240], 3))
    return Limits(memory_mb=memory_mb, max_replicas=generator.choice([1, 2]), max_stages=20, recompute=False, **changes)


@pytest.mark.parametrize("seed", range(50))
def test_the_optimum_of_unmerged_layers_is_within_the_bound(seed):
    generator = random.Random(seed)
    profile = random_profile(generator, layers=generator.randint(10, 14), scale=0.5)
    model, objective = cost_model(profile), random_objective(generator)
    limits = some_limits(generator, schedule="gpipe")
    merged = build_problem(model, objective, limits, groups=GROUPS)
    assert len(merged.boundaries) - 1 < model.layer_count
    found = solve([merged])
    assert found is not None
    bound = lower_bound([merged], Aim(objective), found.objective)
    best = least_objective(build_problem(model, objective, limits, groups=model.layer_count), found.objective)
    assert bound <= best * (1 + 1e-9)
    assert best <= found.objective * (1 + 1e-9)
    if objective.usd_weight:  # not so that anything would do
        assert bound >= 0.8 * best


@pytest.mark.parametrize("seed", range(6))
def test_no_plan_of_any_schedule_wire_and_size_is_below_the_bound(seed):
    generator = random.Random(seed)
    profile = random_profile(generator, layers=3)
    two = {"memory_mb": sorted(generator.sample([1024, 1769, 3538, 10240], 2))}
    two |= {"synchronisation": [Algorithm.PIECE_PIPELINED, Algorithm.ALL_TO_ALL]}
    limits = some_limits(generator).model_copy(update={"recompute": "auto", "schedule": "auto", **two})
    objective = Objective(usd_weight=1.0, time_weight=10 ** generator.uniform(-5, -3))
    models = [
        cost_model(grown(profile, size), wire=WireSpec(activations=wire, gradients=wire), architecture=architecture)
        for size in (8, 16)
        for wire in WireType
        for architecture in Architecture
    ]
    space = problems(models, objective, limits, groups=2)
    found = solve(space)
    assert found is not None
    bound = lower_bound(space, Aim(objective), found.objective)
    every = problems(models, objective, limits)
    best = min(value(problem, plan) for problem in every for plan in every_plan(problem))
    assert bound <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_no_plan_of_what_is_asked_is_below_the_bound(seed):
    generator = random.Random(seed)
    model = cost_model(random_profile(generator, layers=4, scale=0.5))
    problem = build_problem(model, Objective(), some_limits(generator, schedule="gpipe"), groups=2)
    every = [(model.iteration_s(plan), plan) for plan in every_plan(problem)]
    every = [(seconds, model.usd(plan, seconds)) for seconds, plan in every]
    some_s, some_usd = generator.choice(every)[0], generator.choice(every)[1]
    for aim in (
        Aim.of(Quantity.SECONDS),
        Aim.of(Quantity.USD),
        Aim.of(Quantity.PRODUCT),
        Aim.of(Quantity.USD, most_s=some_s),
        Aim.of(Quantity.SECONDS, most_usd=some_usd),
        Aim.of(Quantity.PRODUCT, most_s=1.5 * some_s, most_usd=some_usd),
    ):
        best = min(aim.value(*figures) for figures in every)
        if best < inf:
            for known in (best, 1.1 * best):
                bound = lower_bound([problem], aim, known)
                assert 0.9 * best <= bound <= best * (1 + 1e-9)


def test_unmerged_layers_lose_next_to_nothing():
    generator = random.Random(3)
    model = cost_model(random_profile(generator, layers=8))
    objective = Objective(usd_weight=1.0, time_weight=1e-4)
    limits = some_limits(generator, schedule="gpipe")
    problem = build_problem(model, objective, limits)
    found = solve([problem])
    assert found is not None
    assert lower_bound([problem], Aim(problem.objective), found.objective) == pytest.approx(found.objective, rel=0.03)


def test_less_work_proves_less():
    generator = random.Random(4)
    model = cost_model(random_profile(generator, layers=12))
    problem = build_problem(model, Objective(usd_weight=1.0, time_weight=1e-4), Limits(recompute=False), groups=4)
    found = solve([problem])
    assert found is not None
    bounds = [lower_bound([problem], Aim(problem.objective), found.objective, work=work) for work in (1e4, 1e6, 1e8)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[2]
    assert bounds[2] == lower_bound([problem], Aim(problem.objective), found.objective, work=1e8), "the same again"
