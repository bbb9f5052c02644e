import random
from dataclasses import replace

import pytest

from cli.explain_markdown import markdown
from planner.choice import Asked, Optimize, choose
from planner.explain import explain
from planner.job import Limits, Objective
from planner.plan import manifest_of
from planner.platforms import PLATFORMS
from planner.problem import build_problem
from planner.refinement import refined
from planner.solver import solve
from planner.unmerged import merging_loss
from runtime.manifest import Hashes
from tests.planner.brute_force import cost_model
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
    assert merging_loss([merged.problem], found) >= 1 - best / found.objective - 1e-9


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
    assert merging_loss([found.problem], found) == 0


def test_the_loss_is_in_the_manifest_and_in_the_account_of_a_plan():
    job, platform = make_job(max_replicas=2), PLATFORMS["aws-lambda"]
    deep = make_profile([make_layer() for _ in range(20)])
    hashes = Hashes(job=job.sha256, profile=deep.sha256, source="0" * 64)
    chosen = choose(job, deep, platform, Asked())
    assert chosen.merging_loss is not None and 0 < chosen.merging_loss < 0.2
    manifest = manifest_of(job, chosen.run, chosen.gap, ".", hashes, chosen.merging_loss)
    assert manifest.predicted.merging_loss == pytest.approx(chosen.merging_loss, rel=1e-3)
    explanation = explain(manifest, deep)
    assert explanation.merging_loss == manifest.predicted.merging_loss
    assert f"with other cuts none is better by more than {explanation.merging_loss:.1%}" in markdown(explanation)
    assert "what merging layers may have cost is not known" in markdown(replace(explanation, merging_loss=None))
    assert choose(job, deep, platform, Asked(optimize=Optimize.COST)).merging_loss is None
    flat = make_profile([make_layer() for _ in range(4)])
    assert choose(job, flat, platform, Asked()).merging_loss == 0
