from pathlib import Path

import pytest

from planner.job import Job, load_job
from planner.job_template import JOB_TEMPLATE
from runtime.errors import UserInputError
from runtime.spec import Metric

MINIMAL = """
name = "tiny"
[model]
factory = "model:build"
[data]
factory = "data:load"
[training]
loss = "cross_entropy"
global_batch_size = 8
micro_batch_size = 4
iterations = 3
optimizer = { name = "sgd", lr = 0.1 }
"""


def load(tmp_path: Path, text: str) -> Job:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return load_job(path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserInputError) as caught:
        load(tmp_path, text)
    return str(caught.value)


def test_template_is_a_valid_job(tmp_path):
    job = load(tmp_path, JOB_TEMPLATE)
    assert job.training.optimizer.name == "adam"
    assert job.model.args == {"width": 64}


def test_template_shows_every_default(tmp_path):
    written, minimal = load(tmp_path, JOB_TEMPLATE), load(tmp_path, MINIMAL)
    assert written.objective == minimal.objective
    assert written.limits == minimal.limits
    assert written.package == minimal.package


def test_comments_do_not_change_the_digest_but_values_do(tmp_path):
    plain = load(tmp_path, MINIMAL)
    assert load(tmp_path, "# hello\n" + MINIMAL).sha256 == plain.sha256
    assert load(tmp_path, MINIMAL.replace("0.1", "0.2")).sha256 != plain.sha256


def test_metric_follows_the_loss_unless_given(tmp_path):
    assert load(tmp_path, MINIMAL).effective_evaluation.metric is Metric.ACCURACY
    regression = MINIMAL.replace("cross_entropy", "mse")
    assert load(tmp_path, regression).effective_evaluation.metric is Metric.NONE
    assert load(tmp_path, regression + '[evaluation]\nmetric = "accuracy"\n').effective_evaluation.metric is (
        Metric.ACCURACY
    )


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        (("iterations = 3", "iterations = 3\nbatch = 4"), ["training.batch", "global_batch_size", "micro_batch_size"]),
        (("iterations = 3", ""), ["training", "epochs", "iterations"]),
        (("iterations = 3", "iterations = true"), ["training.iterations", "valid integer", "True"]),
        (("iterations = 3", 'iterations = "3"'), ["training.iterations", "valid integer", "'3'"]),
        (("lr = 0.1", 'lr = "0.1"'), ["training.optimizer.lr", "valid number"]),
        (('loss = "cross_entropy"', 'loss = "hinge"'), ["training.loss: ", "cross_entropy", "hinge"]),
        (("micro_batch_size = 4", "micro_batch_size = 16"), ["micro_batch_size: 16", "global_batch_size: 8"]),
        (('"model:build"', '"model.build"'), ["model.factory", "model.build"]),
        (('name = "sgd"', 'name = "lion"'), ["training.optimizer", "lion", "sgd", "adam"]),
        (("lr = 0.1", "lr = -1"), ["lr", "-1"]),
        (("lr = 0.1", "lr = nan"), ["lr", "nan"]),
        (("[model]", "[limits]\nmemory_mb = [20000]\n[model]"), ["limits.memory_mb.0", "20000", "10240"]),
        (
            ("[model]", '[limits]\nsynchronisation = ["gossip"]\n[model]'),
            ["limits.synchronisation.0", "gossip", "plain"],
        ),
        (("[model]", '[limits]\nschedule = "zigzag"\n[model]'), ["limits.schedule", "zigzag", "auto", "1f1b"]),
        (("[model]", '[limits]\nrecompute = "maybe"\n[model]'), ["limits.recompute", "maybe", "auto"]),
        (("[model]", "[limits]\nrecompute = 1\n[model]"), ["limits.recompute", "valid boolean"]),
        (("[model]", "[limits]\nsynchronisation = []\n[model]"), ["limits.synchronisation", "at least 1"]),
        (("[model]", '[limits]\nsynchronisation = ["plain", "plain"]\n[model]'), ["twice", "['plain', 'plain']"]),
        (("[model]", "[limits]\nmin_stages = 3\nmax_stages = 2\n[model]"), ["min_stages: 3", "max_stages: 2"]),
        (("[model]", "[limits]\nmin_workers = 9\nmax_stages = 2\n[model]"), ["min_workers: 9", "max_replicas: 4"]),
        (("[model]", "[objective]\nusd_weight = 0\ntime_weight = 0\n[model]"), ["usd_weight", "both be 0"]),
        (("[model]", '[package]\nsource = "/tmp"\n[model]'), ["package", "/tmp"]),
        (("[model]", "[package]\nephemeral_storage_mb = 511\n[model]"), ["package.ephemeral_storage_mb", "512"]),
        (("[model]", "[package]\nephemeral_storage_mb = 10241\n[model]"), ["package.ephemeral_storage_mb", "10240"]),
        (('name = "tiny"', 'name = "Tiny Job"'), ["name", "Tiny Job"]),
        (("[model]", "[model"), ["TOML"]),
        (('name = "tiny"', ""), ["name", "required"]),
    ],
)
def test_wrong_values_are_named(tmp_path, change, mentions):
    message = refusal(tmp_path, MINIMAL.replace(*change, 1))
    assert "job.toml" in message
    for mention in mentions:
        assert mention in message


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(UserInputError, match="funcpipe init"):
        load_job(tmp_path / "none.toml")


def test_a_missing_source_folder_is_named(tmp_path):
    job = load(tmp_path, MINIMAL + '[package]\nsource = "nowhere"\n')
    with pytest.raises(UserInputError, match="nowhere"):
        job.source_folder(tmp_path / "job.toml")
