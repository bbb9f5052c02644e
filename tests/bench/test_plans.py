import json
import sys
from pathlib import Path

import pytest
import torch

from bench.plans import BATCH_SIZES, Setting, compare, run
from bench.profiles import FOLDER, MICRO_BATCH_SIZE, MODELS, SOURCE, job_of, measured, measured_models, profile_of
from bench.verdicts import Case, Space, beside
from planner.plan import check_profile
from planner.platforms import PLATFORMS
from runtime.errors import UserInputError
from runtime.factories import build_layers, build_model, call, named_layers
from runtime.source import source_sha256
from tests.bench.test_verdicts import way
from tests.planner.profiles import make_layer, make_profile
from tests.planner.test_choice import make_job

MODULES = ("resnet", "amoebanet", "bert", "samples")


@pytest.fixture(autouse=True)
def _modules_go():
    yield
    for name in MODULES:
        sys.modules.pop(name, None)
    while str(SOURCE.resolve()) in sys.path:
        sys.path.remove(str(SOURCE.resolve()))


def count(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(factory: str, **arguments):
    with torch.device("meta"):
        return call(factory, SOURCE, "model.factory", arguments)


def test_resnet101_and_bert_large_have_the_published_parameters():
    assert count(on_meta("resnet:resnet101")) == 44_549_160
    bert = on_meta("bert:bert_large")
    classifier = count(named_layers(bert)[-1][1].logits)
    assert count(bert) - classifier == 335_141_888


@pytest.mark.parametrize(
    ("normal_cells", "filters", "millions"),
    [(18, 208, 82), (18, 416, 318), (18, 544, 542), (36, 544, 1_050), (72, 512, 1_800)],
)
def test_amoebanet_d_has_the_parameters_of_gpipes_table(normal_cells, filters, millions):
    model = on_meta("amoebanet:amoebanet_d", normal_cells=normal_cells, filters=filters)
    assert len(model) == normal_cells + 6
    assert count(model) == pytest.approx(millions * 1e6, rel=0.03)


@pytest.mark.parametrize("name", measured_models())
def test_committed_profiles_are_of_these_models_and_of_these_sources(name):
    profile = profile_of(name)
    check_profile(job_of(name, BATCH_SIZES[0]), profile, source_sha256(SOURCE))
    model = on_meta(MODELS[name][0]["factory"], **MODELS[name][0].get("args", {}))
    sizes = [4 * count(layer) for _, layer in named_layers(model)]
    assert [layer.parameter_bytes for layer in profile.layers] == sizes
    assert profile.micro_batch_size == MICRO_BATCH_SIZE
    assert not profile.builds_whole_model
    about = measured()[name]
    assert about["date"] and about["machine"]["cores"] == profile.host_cores
    two = sum(layer.forward_s[-1] + layer.backward_s[-1] for layer in profile.layers)
    one = sum(layer.forward_s[0] + layer.backward_s[0] for layer in profile.layers)
    assert 0.45 * one < two < 0.8 * one, "something else kept a core busy meanwhile"


@pytest.mark.parametrize(
    ("name", "mib"), [("resnet101", 170), ("amoebanet_d18", 467), ("amoebanet_d36", 901), ("bert_large", 1_278)]
)
def test_the_models_are_as_large_as_the_readme_says(name, mib):
    model = on_meta(MODELS[name][0]["factory"], **MODELS[name][0].get("args", {}))
    assert 4 * count(model) / (1 << 20) == pytest.approx(mib, abs=1)


def test_profiles_and_when_they_were_measured_belong_together():
    assert {path.stem for path in FOLDER.glob("*.json")} == {*measured_models(), "measured"}
    assert tuple(json.loads((FOLDER / "measured.json").read_text())) == measured_models()


def test_what_was_not_measured_says_how_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.profiles.FOLDER", tmp_path)
    with pytest.raises(UserInputError, match=r"python -m bench\.profiles bert_large"):
        profile_of("bert_large")


def test_a_small_amoebanet_learns_and_can_be_cut_anywhere():
    spec = job_of("amoebanet_d18").model.model_copy(update={"args": {"normal_cells": 3, "filters": 16}})
    model = build_model(spec, SOURCE, seed=0, dtype="float32")
    _, only_own_layers = build_layers(spec, SOURCE, 2, 4, 0, "float32")
    assert only_own_layers, "a stage builds its own layers only"
    value = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sizes = []
    for layer in model:
        value = layer(value)
        sizes.append([tuple(each.shape[1:]) for each in value] if isinstance(value, tuple) else tuple(value.shape))
    assert sizes[:4] == [
        [(4, 32, 32), (4, 32, 32)],
        [(24, 16, 16), (4, 32, 32)],
        [(48, 8, 8), (24, 16, 16)],
        [(64, 8, 8), (48, 8, 8)],
    ]
    assert sizes[-1] == (2, 1_000)
    torch.nn.functional.cross_entropy(value, torch.tensor([1, 2])).backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not unused, "every parameter takes part"


def test_a_replicated_bottleneck_wins_over_one_degree_for_all():
    layers = [make_layer(forward_s=s, backward_s=2 * s, parameter_mib=60) for s in (0.02, 0.6, 0.02, 0.02)]
    job = make_job(max_replicas=4)
    case = compare("small", job, make_profile(layers), PLATFORMS["aws-lambda"], time_limit_s=20)
    speedups = [case.balanced(space).speedup for space in Space]
    ratios = [case.balanced(space).cost_ratio for space in Space]
    assert not any(case.lost(space) for space in Space)
    assert speedups == sorted(speedups) and ratios == sorted(ratios, reverse=True), "each space holds the one before"
    assert speedups[0] >= 1 and ratios[0] <= 1
    assert ratios[2] <= 0.81, "arm64 alone is a fifth cheaper"
    assert {baseline.name for baseline in case.baselines} >= {"lambdaml", "hybrid-ps", "tpdmp", "vm-c5.2xlarge"}


def test_where_our_search_finds_nothing_their_plan_is_ours_too(monkeypatch):
    layers = [make_layer(forward_s=0.05, backward_s=0.1, parameter_mib=60) for _ in range(4)]
    monkeypatch.setattr("bench.plans._nearest", lambda *_: [])
    case = compare("small", make_job(max_replicas=4), make_profile(layers), PLATFORMS["aws-lambda"], time_limit_s=5)
    for space in Space:
        assert not case.lost(space)
        assert len(case.published[space]) > 1


def test_goals_hold_for_all_twelve_cases_only(monkeypatch):
    lone = beside(way(10, 1.0), [way(5, 1.0)])
    monkeypatch.setattr("bench.plans.profile_of", lambda name: None)
    monkeypatch.setattr("bench.plans.check_profile", lambda *_: None)
    monkeypatch.setattr("bench.plans.compare", lambda name, *_: Case(name, dict.fromkeys(Space, (lone,)), (), 0.01))
    lines: list[str] = []
    report = run(Setting(models=tuple(MODELS)), lines.append)
    assert (report.figures["cases"], report.figures["cases_won"], report.figures["cases_lost"]) == (12, 12, 0)
    assert report.met and report.figures["bert_large_256_speedup"] == 2.0
    part = run(Setting(models=("resnet101",)), lines.append)
    assert not part.goals and part.figures["cases"] == 3
    assert "not compared: amoebanet_d18, amoebanet_d36, bert_large" in lines


def test_profiles_are_small_files():
    assert all(path.stat().st_size < 100_000 for path in Path(FOLDER).glob("*.json"))
