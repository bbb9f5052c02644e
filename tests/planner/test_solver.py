import random
from contextlib import suppress
from itertools import product

import pytest

from planner.job import Limits, Objective
from planner.platforms import PLATFORMS
from planner.problem import Problem, build_problem
from planner.solver import solve
from runtime.errors import UserInputError
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from runtime.spec import WireSpec, WireType
from runtime.synchronisation import Algorithm
from tests.planner.brute_force import cost_model, every_plan, value
from tests.planner.front_to_back import least_objective
from tests.planner.profiles import (
    grown,
    make_layer,
    make_profile,
    random_limits,
    random_objective,
    random_profile,
)


@pytest.mark.parametrize("seed", range(60))
def test_equals_brute_force(seed):
    generator = random.Random(seed)
    profile = random_profile(generator, layers=generator.choice([2, 3, 4]))
    model = cost_model(profile, platform=generator.choice(list(PLATFORMS)), optimizer={"name": "adam"})
    objective, limits = random_objective(generator), random_limits(generator)
    try:
        problem = build_problem(model, objective, limits)
    except UserInputError as error:
        assert "fits no memory size" in str(error)
        assert not list(every_plan(Problem(model, objective, limits, (), ())))
        return
    best = min((value(problem, plan) for plan in every_plan(problem)), default=None)
    if best is None:
        with pytest.raises(UserInputError, match="no plan is within the limits"):
            solve([problem])
        return
    found = solve([problem])
    assert (found.objective, found.gap) == (best, 0.0)
    assert problem.admits(found.stages)


def random_space(generator: random.Random) -> list[Problem]:
    """Problems of one small model: some of all micro-batch sizes, wire types, architectures and schedules."""
    profile = random_profile(generator, layers=generator.choice([4, 5, 6, 7]))
    sizes, most, recompute = generator.choice([(2, 1, False), (1, 2, False), (1, 1, "auto")])
    limits = Limits(
        memory_mb=sorted(generator.sample([1769, 2560, 3538, 5120, 10240], sizes)),
        max_replicas=most,
        max_stages=generator.choice([3, 7]),
        recompute=recompute,
        synchronisation=[generator.choice(list(Algorithm))],
    )
    objective, platform = random_objective(generator), generator.choice(list(PLATFORMS))
    choices = list(product([8, 16], WireType, Architecture, ScheduleName))
    models = {}
    found = []
    for size, wire, architecture, schedule in generator.sample(choices, 4):
        key = (size, wire, architecture)
        if key not in models:
            both = WireSpec(activations=wire, gradients=wire)
            models[key] = cost_model(grown(profile, size), platform, both, architecture)
        with suppress(UserInputError):  # a layer fits nowhere
            found.append(build_problem(models[key], objective, limits, schedule=schedule))
    return found


@pytest.mark.parametrize("block", range(20))
def test_equals_brute_force_bit_for_bit_over_the_whole_space(block):
    solved = 0
    for seed in range(11 * block, 11 * block + 11):
        space = random_space(random.Random(1000 + seed))
        best = min((value(problem, plan) for problem in space for plan in every_plan(problem)), default=None)
        if best is None:
            continue
        found = solve(space)
        assert (found.objective, found.gap) == (best, 0.0), seed
        assert found.problem.admits(found.stages)
        solved += 1
    assert solved >= 10


@pytest.mark.parametrize("block", range(6))
def test_equals_an_independent_dynamic_program_with_thirty_layers(block):
    for seed in range(4 * block, 4 * block + 4):
        generator = random.Random(seed)
        profile = random_profile(generator, layers=30)
        limits = Limits(
            memory_mb=sorted(generator.sample([1769, 3538, 5120, 7076, 10240], 3)),
            max_replicas=generator.choice([2, 3]),
            max_stages=30,
            recompute=generator.choice([False, True, "auto"]),
            synchronisation=generator.sample(list(Algorithm), 1),
        )
        objective = Objective(usd_weight=1, time_weight=10 ** generator.uniform(-5, -2))
        space = [build_problem(cost_model(grown(profile, size)), objective, limits, groups=30) for size in (8, 16)]
        found = solve(space)
        oracle = min(least_objective(problem, found.objective * (1 + 1e-9)) for problem in space)
        assert found.objective == pytest.approx(oracle, rel=1e-12), seed
        assert found.gap == 0.0


def test_next_best_is_the_second_of_brute_force():
    profile = random_profile(random.Random(3), layers=3)
    problem = build_problem(cost_model(profile), Objective(), Limits(memory_mb=[1769, 3538], max_replicas=2))
    first = solve([problem])
    second = solve([problem], excluded=first.stages)
    kept = set(problem.candidates)  # a plan that only wastes memory is no alternative
    values = sorted(value(problem, plan) for plan in every_plan(problem) if kept.issuperset(plan))
    assert first.objective == pytest.approx(values[0], rel=1e-12)
    assert second.objective == pytest.approx(values[1], rel=1e-12)
    assert second.stages != first.stages


def test_there_is_no_next_best_of_an_only_plan():
    problem = build_problem(
        cost_model(make_profile([make_layer()])), Objective(), Limits(memory_mb=[1769], max_replicas=1)
    )
    assert solve([problem], excluded=solve([problem]).stages) is None


def test_time_alone_buys_more_workers_than_cost_alone():
    profile = make_profile([make_layer() for _ in range(6)])
    limits = Limits(memory_mb=[1024, 1769, 3538], max_replicas=4)

    def workers(**weights):
        plan = solve([build_problem(cost_model(profile), Objective(**weights), limits)])
        return sum(stage.replicas for stage in plan.stages)

    assert workers(usd_weight=1, time_weight=0) == 1
    assert workers(usd_weight=0, time_weight=1) > 4


def test_same_problem_same_plan():
    profile = random_profile(random.Random(5), layers=6)
    problem = build_problem(cost_model(profile), Objective(), Limits())
    assert solve([problem]) == solve([problem])


def test_limits_out_of_reach_are_named():
    profile = make_profile([make_layer()])
    problem = build_problem(cost_model(profile), Objective(), Limits(min_workers=3, max_replicas=2, max_stages=2))
    with pytest.raises(UserInputError, match="min_workers 3"):
        solve([problem])
