import itertools
import random
from dataclasses import replace
from unittest import mock

import pytest

from cli.explain_markdown import markdown
from cli.plan import merging_line
from planner import variants
from planner.aims import Aim, Quantity
from planner.choice import Asked, Optimize, choose, find_choices
from planner.explain import explain
from planner.job import Limits, Objective
from planner.plan import manifest_of
from planner.platforms import PLATFORMS
from planner.problem import build_problem
from planner.refinement import GAIN, refined
from planner.solver import solve
from planner.unmerged import merging_loss
from runtime.manifest import Hashes
from tests.planner.brute_force import cost_model, every_plan
from tests.planner.front_to_back import least_objective
from tests.planner.profiles import make_layer, make_profile, random_profile
from tests.planner.test_choice import make_job

LIMITS = Limits(memory_mb=[1024, 1769, 3538], max_replicas=2, recompute=False, schedule="gpipe")
OBJECTIVE = Objective(usd_weight=1.0, time_weight=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_moved_cuts_are_never_worse_and_never_better_than_the_best(seed):
    model = cost_model(random_profile(random.Random(seed), layers=14, scale=0.5))
    merged = solve([build_problem(model, OBJECTIVE, LIMITS, groups=5)])
    assert merged is not None
    found = refined(merged, groups=5)
    best = least_objective(build_problem(model, OBJECTIVE, LIMITS, groups=14), merged.objective)
    assert best * (1 - 1e-9) <= found.objective <= merged.objective
    assert found.problem.admits(found.stages)
    assert found.objective == found.problem.value(found.stages, found.problem.iteration_s(found.stages))
    assert merging_loss([merged.problem], Aim(OBJECTIVE), found.objective) >= 1 - best / found.objective - 1e-9


def test_a_narrow_boundary_inside_a_group_is_found():
    # All layers alike, so that groups are alike, too; only one boundary is cheap to cut at, and no group ends there.
    layers = [make_layer(output_mib=40.0, parameter_mib=30) for _ in range(24)]
    merged_at = set(build_problem(cost_model(make_profile(layers)), OBJECTIVE, LIMITS, groups=6).boundaries)
    inner = next(at for at in range(9, 24) if at not in merged_at)
    layers[inner - 1] = make_layer(output_mib=0.1, parameter_mib=30)
    limits = LIMITS.model_copy(update={"memory_mb": [1769], "max_replicas": 1})
    problem = build_problem(cost_model(make_profile(layers)), OBJECTIVE, limits, groups=6)
    merged = solve([problem])
    assert merged is not None and len(merged.stages) > 1
    found = refined(merged, groups=6)
    assert inner in [stage.end for stage in found.stages]
    assert found.objective < merged.objective


def test_a_plan_between_all_layers_stays_as_it_is():
    found = solve([build_problem(cost_model(random_profile(random.Random(1), layers=4)), OBJECTIVE, LIMITS)])
    assert found is not None
    assert refined(found) is found
    assert merging_loss([found.problem], Aim(OBJECTIVE), found.objective) == 0


def test_no_clock_ends_the_moving_of_cuts():
    model = cost_model(random_profile(random.Random(3), layers=20, scale=0.5))
    merged = solve([build_problem(model, OBJECTIVE, LIMITS, groups=6)])
    assert merged is not None
    with mock.patch("planner.search.monotonic", side_effect=itertools.count().__next__):
        slow = refined(merged, groups=6)  # each look at the clock is a second later
    assert slow == refined(merged, groups=6)
    assert slow.objective < merged.objective


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked(), "better by the job's objective"),
        (Asked(optimize=Optimize.TIME), "faster"),
        (Asked(deadline_s=2000), "cheaper"),
        (Asked(optimize=Optimize.BALANCED), "better by USD times seconds"),
    ],
)
def test_the_loss_is_in_the_manifest_and_in_the_account_of_a_plan(asked, words):
    job, platform = make_job(max_replicas=2), PLATFORMS["aws-lambda"]
    deep = make_profile([make_layer() for _ in range(20)])
    hashes = Hashes(job=job.sha256, profile=deep.sha256, source="0" * 64)
    chosen = choose(job, deep, platform, asked)
    assert 0 < chosen.merging_loss < 0.2
    manifest = manifest_of(job, chosen.run, chosen.gap, ".", hashes, chosen.merging_loss, chosen.quantity)
    assert manifest.predicted.merging_loss == pytest.approx(chosen.merging_loss, rel=1e-3)
    assert f"{manifest.predicted.merging_loss:.1%} {words}" in merging_line(manifest.predicted)
    explanation = explain(manifest, deep)
    assert explanation.merging_loss == manifest.predicted.merging_loss
    assert f"with other cuts none is more than {explanation.merging_loss:.1%} {words}" in markdown(explanation)
    unknown = replace(explanation, merging_loss=None)
    assert "what merging layers may have cost is not known" in markdown(unknown)
    flat = make_profile([make_layer() for _ in range(4)])
    assert choose(job, flat, platform, asked).merging_loss == 0


GROUPS = 3


@pytest.mark.parametrize("seed", range(3))
def test_what_was_asked_of_merged_layers_loses_no_more_than_is_proven(seed, monkeypatch):
    """Against every plan between all layers, by the closed form."""
    monkeypatch.setattr("planner.variants.problems.__defaults__", (GROUPS, None))
    monkeypatch.setattr("planner.refinement.refined.__defaults__", (None, GROUPS, None, GAIN))
    generator = random.Random(seed)
    job, platform = (
        make_job(
            memory_mb=[1769, 3538], max_replicas=2, schedule="gpipe", recompute=False, synchronisation=["pipelined"]
        ),
        PLATFORMS["aws-lambda"],
    )
    profile = random_profile(generator, layers=6, scale=0.5)
    model = variants.cost_model(job, profile, platform)
    every = [
        (seconds, model.usd(plan, seconds))
        for plan in every_plan(build_problem(model, job.objective, job.limits))
        for seconds in [model.iteration_s(plan)]
    ]
    runs = find_choices(job, variants.job_problems(job, profile, platform)).runs
    middle = runs[len(runs) // 2]
    for asked, quantity in (
        (Asked(optimize=Optimize.TIME), Quantity.SECONDS),
        (Asked(optimize=Optimize.COST), Quantity.USD),
        (Asked(optimize=Optimize.BALANCED), Quantity.PRODUCT),
        (Asked(deadline_s=middle.total_s * 1.03), Quantity.USD),
        (Asked(budget_usd=middle.usd * 1.03), Quantity.SECONDS),
        (
            Asked(deadline_s=middle.total_s * 1.1, budget_usd=middle.usd * 1.1, optimize=Optimize.BALANCED),
            Quantity.PRODUCT,
        ),
    ):
        chosen = choose(job, profile, platform, asked)
        assert chosen.quantity is quantity and chosen.run.keeps(asked)
        aim = asked.aim(chosen.run)
        best = min(aim.value(*figures) for figures in every)
        value = aim.value(chosen.run.solution.iteration_s, chosen.run.solution.usd)
        assert 1 - best / value <= chosen.merging_loss + 1e-9
        assert chosen.merging_loss < 0.25, "not so that anything would do"
