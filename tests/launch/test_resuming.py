"""A run that goes on from another's last commit equals one that was never broken off, whatever the plan."""

import pytest
import torch

from launch.resuming import OldRun
from runtime.checkpoint import CheckpointError
from runtime.errors import UserInputError
from runtime.keys import layer
from runtime.records import EndReason
from tests.gangs import FixtureRun

ADAM = {"name": "adam", "lr": 0.01}
JOB = {"model": "tiny:build", "optimizer": ADAM, "global_batch_size": 16, "dtype": "float64"}
"""Four iterations are an epoch, whose last batch is short: the break lies within one."""
OTHER_PLANS = {
    "fewer stages": {"layers": [8], "micro_batch_size": 16},
    "other cuts and replicas": {"layers": [1, 4, 3], "replicas": [2, 1, 3], "micro_batch_size": 2},
    "other cuts, memory and way to sum": {
        "layers": [5, 3],
        "replicas": [3, 2],
        "memory_mb": [2048, 512],
        "micro_batch_size": 4,
        "synchronisation": "plain",
    },
}


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """Six of the ten iterations, in two segments."""
    folder = tmp_path_factory.mktemp("broken-off")
    plan = {"layers": [3, 5], "replicas": [2, 1], "micro_batch_size": 4, "segment_iterations": 4}
    return FixtureRun(folder, run="old", iterations=6, **plan, **JOB).train()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return FixtureRun(tmp_path_factory.mktemp("whole"), iterations=10, layers=[4, 4], micro_batch_size=4, **JOB).train()


@pytest.mark.parametrize("plan", OTHER_PLANS.values(), ids=OTHER_PLANS)
def test_another_plan_goes_on_as_if_there_had_been_no_break(tmp_path, broken_off, whole, plan):
    old = OldRun("old", broken_off.gang.artifacts)
    run = FixtureRun(tmp_path, run="new", iterations=10, resume=old, **JOB, **plan).train()
    first, last = run.commits[0], run.commits[-1]
    assert (first.number, first.iteration, first.resumed_from) == (0, 6, "old")
    assert (last.iteration, last.reason) == (10, EndReason.FINISHED)
    for name, value in whole.weights.items():
        assert torch.allclose(run.weights[name], value, rtol=0, atol=1e-5), name
    assert {s.first_iteration for s in run.summaries} == {6}


def test_a_stopped_run_can_be_resumed(tmp_path):
    plan = JOB | {"layers": [4, 4], "epochs": 10_000, "micro_batch_size": 4, "segment_iterations": 5}
    run = FixtureRun(tmp_path, run="old", **plan)
    run.gang.start()
    while len(run.commits) < 2:
        assert run.gang.poll(), run.gang.stop_reason
    run.gang.stop("enough")
    run.gang.wait()
    saved = run.commits[-1]
    resumed = JOB | {"layers": [8], "iterations": saved.iteration + 2, "micro_batch_size": 16}
    new = FixtureRun(tmp_path, run="new", resume=OldRun("old", run.gang.artifacts), **resumed).train()
    assert new.commits[0].iteration == saved.iteration
    assert new.commits[-1].iteration == saved.iteration + 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_batch_size": 10}, r"training\.global_batch_size differs \(the run's: 16, the manifest's: 10\)"),
        ({"seed": 5}, r"training\.seed differs"),
        ({"data_args": {"samples": 40}}, r"the data set's SHA-256 differs"),
        ({"model_args": {"dropout": 0.1}}, r"model\.args differs"),
        ({"dtype": "float32"}, r"training\.dtype differs"),
        ({"optimizer": {"name": "sgd", "lr": 0.1}}, r"training\.optimizer\.name differs"),
        ({"iterations": 6}, "has 6 iterations saved, and the manifest asks for 6, so nothing is left to do"),
    ],
)
def test_another_training_is_no_continuation(tmp_path, broken_off, changes, said):
    old = OldRun("old", broken_off.gang.artifacts)
    with pytest.raises(UserInputError, match=said):
        FixtureRun(tmp_path, run="new", resume=old, **{"iterations": 10, "layers": [8], **JOB, **changes})


def test_a_run_that_is_not_there_is_named(tmp_path, broken_off):
    with pytest.raises(UserInputError, match="run 'absent' has no manifest"):
        FixtureRun(tmp_path, resume=OldRun("absent", broken_off.gang.artifacts), iterations=10, layers=[8], **JOB)


def damage(run, commit):
    """One file of the commit loses its last byte; one that no other commit names."""
    store, others = run.gang.artifacts, {file for other in run.commits if other != commit for file in other.layers}
    file = next(file for file in commit.layers if file not in others)
    store.put(layer("old", file), store.get(layer("old", file))[:-1])


def test_a_damaged_checkpoint_is_passed_over(tmp_path, whole):
    """The commit before it is kept, and the new run goes on from that."""
    run = FixtureRun(tmp_path / "old", run="old", iterations=6, segment_iterations=4, layers=[8], **JOB).train()
    damage(run, run.commits[-1])
    new = FixtureRun(
        tmp_path / "new", run="new", iterations=10, resume=OldRun("old", run.gang.artifacts), layers=[8], **JOB
    )
    (passed_over,) = new.told
    assert "commit 1-0 of run old, of 6 iterations, is passed over" in passed_over and "is damaged" in passed_over
    assert new.train().commits[0].iteration == 4
    for name, value in whole.weights.items():
        assert torch.allclose(new.weights[name], value, rtol=0, atol=1e-5), name


def test_a_run_whose_checkpoint_is_damaged_says_so_and_is_not_tried_again(tmp_path):
    run = FixtureRun(tmp_path, run="old", iterations=6, layers=[8], **JOB)
    damage(run, run.commits[0])
    run.gang.start()
    run.gang.wait()
    assert "is damaged (SHA-256: " in run.gang.stop_reason and "resumes this one" in run.gang.stop_reason
    assert len(run.outcomes) == 2, "the initial commit and one abort"


def test_a_checkpoint_none_of_which_is_whole_is_not_copied(tmp_path):
    run = FixtureRun(tmp_path / "old", run="old", iterations=2, layers=[8], **JOB).train()
    for commit in run.commits:
        damage(run, commit)
    with pytest.raises(CheckpointError, match="is damaged"):
        FixtureRun(tmp_path / "new", resume=OldRun("old", run.gang.artifacts), iterations=10, layers=[8], **JOB)
