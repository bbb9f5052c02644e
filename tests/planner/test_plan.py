"""From a job and a model that is really run to a manifest and its explanation."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from planner.bills import iteration_bill
from planner.explain import explain
from planner.forecast import forecast_of
from planner.job import load_job
from planner.kept_tensors import KeptTensors
from planner.plan import make_plan
from planner.platforms import PLATFORMS
from planner.price_list import price_list
from planner.profile import profile_job
from planner.profile_format import Profile, load_profile, parse_profile
from runtime.errors import UserInputError
from runtime.manifest import parse_manifest
from runtime.spending import gang_usd_per_s, predicted_requests_usd_per_s

MODEL = """
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
    def forward(self, x):
        return self.linear(x), None, 3

class Join(nn.Module):
    def forward(self, parts):
        return parts[0] * parts[2]

def build(broken=False):
    last = nn.Linear(5 if broken else 8, 3)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), Two(), Join(), nn.Flatten(), last)
"""
DATA = """
import numpy

def load():
    generator = numpy.random.default_rng(0)
    return {"train": (generator.normal(size=(40, 4)), generator.integers(0, 3, 40))}
"""
JOB = """
name = "tiny"
[model]
factory = "model:build"
[data]
factory = "data:load"
[training]
loss = "cross_entropy"
global_batch_size = 20
micro_batch_size = 8
epochs = 3
optimizer = { name = "adam" }
[limits]
min_stages = 2
min_workers = 3
memory_mb = [1024, 1769]
max_segment_iterations = 4
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "model.py").write_text(MODEL)
    (folder / "data.py").write_text(DATA)
    (folder / "job.toml").write_text(JOB)
    return folder


@pytest.fixture(scope="module")
def profile(project) -> Profile:
    return profile_job(load_job(project / "job.toml"), project)


def plan(project, profile, platform="aws-lambda", manifest="build/manifest.json", job=None):
    path = project / "job.toml"
    return make_plan(job or load_job(path), path, profile, PLATFORMS[platform], project / manifest)


def test_profile_measures_every_layer(profile):
    assert [layer.module for layer in profile.layers] == ["Linear", "ReLU", "Two", "Join", "Flatten", "Linear"]
    assert all(layer.forward_s[0] > 0 for layer in profile.layers)
    assert profile.layers[0].parameter_bytes == (4 * 8 + 8) * 4
    assert profile.layers[1].parameter_bytes == 0
    assert profile.layers[0].output_bytes >= 8 * 8 * 4  # 8 samples of 8 float32, and a header
    assert profile.input_bytes == 8 * 4 * 4  # float64 data reach the model as float32
    assert profile.base_bytes > 50 << 20
    assert 0 <= profile.library_bytes < profile.base_bytes
    assert profile.dataset.train_samples == 40


def test_the_loss_keeps_targets_of_one_micro_batch_not_of_the_data_set(profile):
    """Log-probabilities of 8 samples, 3 classes; 8 labels, not 40; the sum of weights."""
    assert profile.loss_profile.activation_bytes == 8 * 3 * 4 + 8 * 8 + 4


def test_profile_survives_its_file(profile, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(profile.to_json())
    assert load_profile(path) == profile
    assert load_profile(path).sha256 == profile.sha256


@pytest.mark.parametrize(
    ("place", "value", "mentions"),
    [
        (("layers", 0, "forward_s", 0), -1.0, "layers.0.forward_s.0"),
        (("layers", 0, "forward_s", 0), float("nan"), "layers.0.forward_s.0"),
        (("layers", 0, "forward_s", 0), 1e30, "layers.0.forward_s.0"),
        (("layers", 1, "backward_s"), [], "layers.1.backward_s"),
        (("schema_version",), 99, "schema_version is 99"),
        (("base_bytes",), -5, "base_bytes"),
        (("base_bytes",), True, "base_bytes"),
        (("threads",), [2], "threads"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_bad_profiles_are_refused(profile, place, value, mentions):
    document = json.loads(profile.to_json())
    at = document
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    with pytest.raises(UserInputError) as caught:
        parse_profile(json.dumps(document), "p.json")
    assert mentions in str(caught.value)
    assert "funcpipe profile" in str(caught.value)


def test_a_profile_without_a_figure_is_refused(profile):
    document = json.loads(profile.to_json())
    del document["layers"][2]["activation_bytes"]
    with pytest.raises(UserInputError, match=r"layers\.2\.activation_bytes"):
        parse_profile(json.dumps(document), "p.json")


def test_a_layer_that_fails_is_named(project):
    job = load_job(project / "job.toml")
    broken = job.model_copy(update={"model": job.model.model_copy(update={"args": {"broken": True}})})
    with pytest.raises(UserInputError, match=r"layer 5 \(Linear\) failed.*float32\[8, 8\]"):
        profile_job(broken, project)


@pytest.mark.parametrize("platform", list(PLATFORMS))
def test_a_plan_is_a_valid_manifest_and_always_the_same_bytes(project, profile, platform):
    manifest = plan(project, profile, platform)
    assert parse_manifest(manifest.to_json(), "again") == manifest
    assert plan(project, profile, platform).to_json() == manifest.to_json()
    assert len(manifest.stages) >= 2
    assert manifest.workers >= 3
    assert manifest.iterations == 6
    assert manifest.segment.iterations == 3  # two of equal length rather than 4 and 2
    assert manifest.package.source == ".."
    assert manifest.hashes.profile == profile.sha256
    assert manifest.segment.stall_timeout_s >= 60
    assert all(stage.predicted.memory_mb < stage.memory_mb for stage in manifest.stages)
    assert manifest.predicted.gap == 0


def test_source_is_relative_to_the_manifest(project, profile):
    assert plan(project, profile, manifest="manifest.json").package.source == "."
    assert plan(project, profile, manifest="a/b/m.json").package.source == "../.."


def test_a_profile_of_something_else_is_refused(project, profile):
    other = profile.model_copy(update={"micro_batch_size": 4})
    with pytest.raises(UserInputError, match=r"micro_batch_size differs \(measured: 4, job: 8\)"):
        plan(project, other)


def test_an_iteration_longer_than_a_function_lives_is_refused(project, profile):
    slow = [layer.model_copy(update={"forward_s": [400.0] * len(profile.threads)}) for layer in profile.layers]
    with pytest.raises(UserInputError, match="does not fit into a function's life"):
        plan(project, profile.model_copy(update={"layers": slow}))


def test_the_manifest_has_the_prices_and_the_rules_of_its_runs(project, profile):
    path = project / "run.toml"
    path.write_text(JOB + "[run]\nbudget_usd = 0.5\nmax_attempts = 5\ncheckpoints_kept = 3\n")
    manifest = make_plan(load_job(path), path, profile, PLATFORMS["aws-lambda"], project / "m.json")
    assert (manifest.segment.max_iterations, manifest.segment.attempts, manifest.checkpoints_kept) == (4, 5, 3)
    spending, predicted = manifest.spending, manifest.predicted
    listed = price_list().lambda_.usd_per_gb_s.of(manifest.architecture)
    assert (spending.budget_usd, spending.prices.usd_per_gb_s) == (0.5, listed)
    hung = gang_usd_per_s(manifest) * manifest.segment.timeout_s
    requests = predicted_requests_usd_per_s(manifest) * manifest.segment.timeout_s
    worst = hung + 2 * requests + spending.prices.usd_per_attempt
    assert spending.segment_at_most_usd == pytest.approx(worst, rel=0.01)
    # The same prices give the predicted bill: a run counts its spending as the plan does.
    per_iteration = (gang_usd_per_s(manifest) + predicted_requests_usd_per_s(manifest)) * predicted.iteration_s
    assert per_iteration == pytest.approx(predicted.usd_per_iteration)


def test_tmp_reaches_the_functions_and_is_paid_for(project, profile):
    job = load_job(project / "job.toml")
    larger = job.model_copy(update={"package": job.package.model_copy(update={"ephemeral_storage_mb": 10_240})})
    plain, roomy = plan(project, profile), plan(project, profile, job=larger)
    assert {stage.ephemeral_storage_mb for stage in plain.stages} == {512}
    assert {stage.ephemeral_storage_mb for stage in roomy.stages} == {10_240}
    assert [stage.memory_mb for stage in roomy.stages] == [stage.memory_mb for stage in plain.stages]
    seconds = roomy.predicted.iteration_s
    assert seconds == plain.predicted.iteration_s
    paid = roomy.predicted.usd_per_iteration - plain.predicted.usd_per_iteration
    assert paid == pytest.approx(roomy.workers * (10_240 - 512) / 1024 * 3.09e-8 * seconds, rel=1e-3)
    (line,) = [line for line in iteration_bill(forecast_of(roomy, profile)).lines if "/tmp" in line.item]
    assert line.usd == pytest.approx(paid, rel=1e-3)
    by_hand = plain.model_copy(update={"stages": roomy.stages})
    assert forecast_of(by_hand, profile).usd_per_iteration == pytest.approx(roomy.predicted.usd_per_iteration, rel=1e-4)
    assert roomy.spending.segment_at_most_usd > plain.spending.segment_at_most_usd


def test_explanation_adds_up(project, profile):
    manifest = plan(project, profile)
    job = load_job(project / "job.toml")
    told = explain(manifest, profile, job)
    assert told.iteration_bill.total_usd == pytest.approx(manifest.predicted.usd_per_iteration, rel=1e-4)
    assert told.run_bill.total_usd == pytest.approx(manifest.predicted.usd_total, rel=1e-4)
    for stage, planned in zip(told.stages, manifest.stages, strict=True):
        assert sum(stage.memory_items_mb.values()) == pytest.approx(stage.predicted_mb)
        assert stage.lanes_s[stage.binding] == max(stage.lanes_s.values())
        assert stage.needed_mb <= planned.memory_mb
    assert told.next_best is not None
    assert told.next_best.objective >= told.next_best.chosen_objective
    json.dumps(told.to_dict(), allow_nan=False)


def test_explanation_refuses_another_profile(project, profile):
    manifest = plan(project, profile)
    with pytest.raises(UserInputError, match="not the one that the plan was made from"):
        explain(manifest, profile.model_copy(update={"base_bytes": 1}))


def test_memory_kept_for_backward_is_counted_once():
    """A linear layer keeps its input; a ReLU keeps its output, which the next linear layer keeps too."""
    layers = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)]
    kept = KeptTensors(tensor for layer in layers for tensor in layer.parameters())
    value = torch.zeros(16, 4)
    for layer in layers:
        kept.enter([value])
        with kept.watching():
            value = layer(value)
        kept.leave([value])
    assert [kept.first_kept_bytes(index) for index in range(3)] == [16 * 4 * 4, 16 * 8 * 4, 0]
    assert [kept.shared_input_bytes(index) for index in range(3)] == [0, 0, 16 * 8 * 4]
    assert [kept.output_kept(index) for index in range(3)] == [False, True, False]
