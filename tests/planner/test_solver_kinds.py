"""Kinds of models on which the search is measured (``bench.kinds``), small enough for brute force."""

import random

import pytest

from bench.kinds import KINDS, drawn_model
from planner.job import Limits, Objective
from planner.problem import build_problem
from planner.solver import solve
from runtime.errors import UserInputError
from runtime.schedule import ScheduleName
from runtime.spec import EXACT_WIRE
from runtime.synchronisation import Algorithm
from tests.planner.brute_force import every_plan, value
from tests.planner.front_to_back import least_objective

BOUNDED = {
    "short": {"max_stages": 2},
    "small": {"max_concurrency": 4},
    "bounded": {"max_stages": 3, "max_concurrency": 5},
}
"""Limits that hold for few layers what those of the kinds hold for thirty."""
SUMMED_APART = ("identical", "transformer")
"""Equal stages in another order: an objective's last bits differ between plans that are the same but for that."""


def limits_of(name, generator):
    sizes = [7076, 8192, 10240] if name == "tight" else [1769, 2560, 3538, 5120, 10240]
    return Limits(
        **{
            "memory_mb": sorted(generator.sample(sizes, 2)),
            "max_replicas": 2,
            "max_stages": 7,
            "synchronisation": generator.sample(list(Algorithm), 1),
            "recompute": generator.choice([False, True]),
            **BOUNDED.get(name, {}),
        }
    )


@pytest.mark.parametrize("name", KINDS)
def test_equals_brute_force(name):
    kind, solved = KINDS[name], 0
    for seed in range(2):
        generator = random.Random(f"{name} {seed}")
        layers, size = generator.choice([4, 5, 5, 6]), generator.choice([2, 4])
        schedule = generator.choice(list(ScheduleName))
        objective = generator.choice([*kind.objectives, *kind.full_objectives])
        model = drawn_model(kind, seed, layers, size, EXACT_WIRE)
        try:
            problem = build_problem(model, objective, limits_of(name, generator), schedule=schedule)
        except UserInputError:
            continue
        best = min((value(problem, plan) for plan in every_plan(problem)), default=None)
        if best is None:
            continue
        found = solve([problem])
        assert found.objective == (pytest.approx(best, rel=1e-14) if name in SUMMED_APART else best), seed
        assert found.gap == 0.0
        solved += 1
    assert solved


@pytest.mark.parametrize("name", ["tight", "identical"])
def test_equals_an_independent_dynamic_program_with_thirty_layers(name):
    limits = Limits(memory_mb=[5120, 10240], max_replicas=2, max_stages=30, recompute=False)
    objective = Objective(usd_weight=1, time_weight=0.001)
    problem = build_problem(drawn_model(KINDS[name], 0, 30), objective, limits, groups=30)
    found = solve([problem])
    assert found.objective == pytest.approx(least_objective(problem, found.objective * (1 + 1e-9)), rel=1e-12)
    assert found.gap == 0.0
