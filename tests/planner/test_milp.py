import random
from itertools import combinations, pairwise, product

import pytest

from planner.cost_model import CostModel
from planner.job import Limits, Objective
from planner.milp import solve
from planner.partial_plans import MOST
from planner.platforms import PLATFORMS
from planner.problem import Problem, build_problem, replica_choices
from runtime.errors import UserInputError
from runtime.manifest import Architecture
from runtime.synchronisation import Algorithm
from tests.planner.profiles import (
    make_layer,
    make_profile,
    make_training,
    random_limits,
    random_objective,
    random_profile,
)


def cost_model(profile, platform="aws-lambda", **training) -> CostModel:
    return CostModel(
        profile=profile,
        platform=PLATFORMS[platform],
        training=make_training(**training),
        architecture=Architecture.X86_64,
    )


def every_plan(problem: Problem):
    """Each plan that fits and that the limits admit, by plain enumeration from the layers."""
    model, limits = problem.model, problem.limits
    degrees = replica_choices(limits, model.micro_batches)
    options = {}
    for first, end in combinations(range(model.layer_count + 1), 2):
        options[first, end] = [
            model.stage(first, end, memory_mb, degree, algorithm, recompute)
            for memory_mb in limits.memory_mb
            for degree in degrees
            for algorithm in (limits.synchronisation if degree > 1 else [Algorithm.PIPELINED])
            for recompute in limits.recomputations
            if model.memory(first, end, degree, algorithm, recompute).needed_mb <= memory_mb
        ]
    for cuts in range(model.layer_count):
        for inner in combinations(range(1, model.layer_count), cuts):
            for plan in product(*(options[pair] for pair in pairwise((0, *inner, model.layer_count)))):
                if problem.admits(plan):
                    yield plan


def value(problem: Problem, plan) -> float:
    return problem.value(plan, problem.model.iteration_s(plan))


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
            solve(problem)
        return
    for most_partial_plans in (MOST, 0):  # with and without what partial plans rule out
        found = solve(problem, most_partial_plans=most_partial_plans)
        assert found.objective == pytest.approx(best, rel=5e-6)
        assert found.gap == 0
        assert problem.admits(found.stages)


@pytest.mark.parametrize("block", range(20))
def test_equals_brute_force_bit_for_bit_up_to_seven_layers(block):
    for seed in range(10 * block, 10 * block + 10):
        generator = random.Random(1000 + seed)
        profile = random_profile(generator, layers=generator.choice([5, 6, 7]))
        model = cost_model(profile, platform=generator.choice(list(PLATFORMS)))
        sizes, most, recompute = generator.choice(
            [(2, 1, False), (1, 2, False), (3, 1, False), (1, 3, False), (1, 1, "auto")]
        )
        limits = Limits(
            memory_mb=sorted(generator.sample([3538, 5120, 7076, 10240], sizes)),
            max_replicas=most,
            max_stages=generator.choice([3, 7]),
            recompute=recompute,
            synchronisation=[generator.choice(list(Algorithm))],
        )
        problem = build_problem(model, random_objective(generator), limits)
        best = min(value(problem, plan) for plan in every_plan(problem))
        found = solve(problem)
        assert (found.objective, found.gap) == (best, 0.0), seed


def test_next_best_is_the_second_of_brute_force():
    profile = random_profile(random.Random(3), layers=3)
    problem = build_problem(cost_model(profile), Objective(), Limits(memory_mb=[1769, 3538], max_replicas=2))
    first = solve(problem)
    second, again = (solve(problem, excluded=first.stages, most_partial_plans=most) for most in (MOST, 0))
    assert second.objective == pytest.approx(again.objective, rel=5e-6)
    kept = set(problem.candidates)  # a plan that only wastes memory is no alternative
    values = sorted(value(problem, plan) for plan in every_plan(problem) if kept.issuperset(plan))
    assert first.objective == pytest.approx(values[0], rel=5e-6)
    assert second.objective == pytest.approx(values[1], rel=5e-6)
    assert second.stages != first.stages


def test_there_is_no_next_best_of_an_only_plan():
    problem = build_problem(
        cost_model(make_profile([make_layer()])), Objective(), Limits(memory_mb=[1769], max_replicas=1)
    )
    assert solve(problem, excluded=solve(problem).stages) is None


def test_time_alone_buys_more_workers_than_cost_alone():
    profile = make_profile([make_layer() for _ in range(6)])
    limits = Limits(memory_mb=[1024, 1769, 3538], max_replicas=4)

    def workers(**weights):
        plan = solve(build_problem(cost_model(profile), Objective(**weights), limits))
        return sum(stage.replicas for stage in plan.stages)

    assert workers(usd_weight=1, time_weight=0) == 1
    assert workers(usd_weight=0, time_weight=1) > 4


def test_same_problem_same_plan():
    profile = random_profile(random.Random(5), layers=6)
    problem = build_problem(cost_model(profile), Objective(), Limits())
    assert solve(problem) == solve(problem)


def test_limits_out_of_reach_are_named():
    profile = make_profile([make_layer()])
    problem = build_problem(cost_model(profile), Objective(), Limits(min_workers=3, max_replicas=2, max_stages=2))
    with pytest.raises(UserInputError, match="min_workers 3"):
        solve(problem)
