import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from launch.staging import stage_run
from launch.stopping import save_and_stop
from runtime import keys
from runtime.errors import UserInputError
from runtime.records import Abort, Claim, EndReason, FailureKind
from runtime.schedule import Lane
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import LinkSpec
from tests.faults.trial import SOURCE as STRUCK
from tests.gangs import SOURCE, FixtureRun

TINY = {"model": "tiny:build", "layers": [2, 1, 3, 2], "replicas": [1, 2, 3, 1], "global_batch_size": 16}


def test_segments_do_not_change_the_result_and_leave_nothing_in_the_inboxes(tmp_path):
    options = TINY | {"micro_batch_size": 3, "epochs": 2, "model_args": {"dropout": 0.2}}
    one = FixtureRun(tmp_path / "one", **options).train()
    three = FixtureRun(tmp_path / "three", segment_iterations=3, **options).train()
    assert one.manifest.segments == 1
    assert three.manifest.segments == 3
    assert one.losses == three.losses
    assert all(torch.equal(three.weights[name], value) for name, value in one.weights.items())
    assert one.inbox_objects == three.inbox_objects == []


def test_an_exception_stops_the_gang_and_says_where(tmp_path):
    run = FixtureRun(tmp_path, micro_batch_size=4, epochs=50, **TINY | {"model_args": {"raise_at": 9}})
    run.gang.start()
    run.gang.wait()
    failure = run.gang.failure
    assert failure is not None
    assert (failure.kind, failure.event.stage) == ("exception", 2)
    assert failure.iteration is not None
    assert failure.instruction.startswith("F")
    assert failure.error == "ValueError: the layer gave up"
    assert "tiny.py" in failure.traceback
    assert "stage 2" in run.gang.stop_reason
    others = [f for f in run.failures if f.event.stage != 2]
    assert len(others) == 4, "every other worker has stopped, with a record"
    assert {f.kind for f in others} == {"aborted"}


def test_a_killed_worker_is_noticed_and_the_others_stop(tmp_path):
    run = FixtureRun(tmp_path, micro_batch_size=4, epochs=10_000, attempts=1, **TINY)
    run.gang.start()
    while len(run.gang.worker_pids) < run.manifest.workers:
        assert run.gang.poll()
    os.kill(run.gang.worker_pids[1], signal.SIGKILL)
    run.gang.wait()
    assert run.gang.failure.kind == "died"
    assert run.gang.failure.event.stage == 1
    assert "signal 9" in run.gang.failure.error


def test_a_worker_in_one_long_layer_is_ended_when_another_dies(tmp_path):
    """Its forward pass would take an hour."""
    marker = tmp_path / "there"
    arguments = {"layer": 0, "how": "long layer", "call": 1, "marker": str(marker)}
    options = {"model": "struck:build", "model_args": arguments, "data": "struck:data", "layers": [2, 4]}
    run = FixtureRun(tmp_path, source=STRUCK, stall_timeout_s=3600.0, timeout_s=900, attempts=1, **options)
    run.gang.start()
    while not marker.exists():
        assert run.gang.poll(), run.gang.stop_reason
    os.kill(run.gang.worker_pids[1], signal.SIGKILL)
    run.gang.wait()
    assert "signal 9" in run.gang.failure.error
    told = {failure.event.stage: failure for failure in run.failures}
    assert (told[0].kind, told[0].instruction) == (FailureKind.ABORTED, "F0")
    (log,) = run.root.glob("logs/*-000-0000.log")
    assert "ended while it was computing: stage 0, replica 0" in log.read_text(), "not killed by its owner"


def test_a_run_can_be_stopped(tmp_path):
    run = FixtureRun(tmp_path, micro_batch_size=4, epochs=10_000, **TINY)
    run.gang.start()
    run.gang.stop("stopped by its owner")
    run.gang.wait()
    assert run.gang.failure is None
    assert run.gang.stop_reason == "stopped by its owner"


def test_a_run_that_is_asked_to_stop_saves_what_it_has_done(tmp_path):
    run = FixtureRun(tmp_path, micro_batch_size=4, epochs=10_000, **TINY)
    run.gang.start()
    progress = keys.GangKeys("run", 0, 0).progress(0, 0)
    while progress not in run.gang.artifacts.list(progress):
        assert run.gang.poll(), run.gang.stop_reason
    save_and_stop(run.gang.artifacts, "run")
    run.gang.wait()
    initial, last = run.commits
    assert (last.reason, last.base) == (EndReason.STOPPED, initial.name)
    assert 0 < last.iteration < run.manifest.iterations
    assert run.gang.stop_reason == "stopped by its owner, after a checkpoint"
    assert {summary.end_iteration for summary in run.summaries} == {last.iteration}
    assert run.inbox_objects == []


def test_transfers_run_beside_compute_when_the_link_is_slow(tmp_path):
    # Every forward computes for at least 50 ms; every boundary object takes about 100 ms of its direction.
    options = {"width": 64, "seconds": 0.05}
    run = FixtureRun(
        tmp_path,
        model="tiny:build_slow",
        model_args=options,
        data_args={"samples": 64, "width": 64},
        layers=[1, 1, 2],
        global_batch_size=64,
        micro_batch_size=8,
        link=LinkSpec(upload_bytes_s=25_000, download_bytes_s=25_000),
    ).train()
    for lane in (Lane.UPLOAD, Lane.DOWNLOAD):
        beside = [
            event
            for event in run.timeline
            if event.lane is lane
            and event.stage == 1
            and any(
                other.lane is Lane.COMPUTE
                and other.stage == event.stage
                and other.start_s < event.end_s
                and other.end_s > event.start_s + event.waited_s
                for other in run.timeline
            )
        ]
        assert beside, f"no {lane} ran during compute"


def test_a_run_id_is_used_once(tmp_path):
    FixtureRun(tmp_path, **TINY)
    with pytest.raises(UserInputError, match="the run id 'run' is used already"):
        FixtureRun(tmp_path, **TINY)


def test_other_data_than_planned_is_refused(tmp_path):
    run = FixtureRun(tmp_path, **TINY)
    dataset = run.manifest.dataset.model_copy(update={"sha256": "0" * 64})
    other = run.manifest.model_copy(update={"dataset": dataset})
    with pytest.raises(UserInputError, match="returns other data than when the plan was made"):
        stage_run(other, SOURCE, "other", run.gang.artifacts)


def test_workers_refuse_another_plan_than_the_deployed_one(tmp_path):
    run = FixtureRun(tmp_path, **TINY)
    key = keys.manifest("run")
    document = json.loads(run.gang.artifacts.get(key))
    document["training"]["optimizer"]["lr"] = 9.0
    run.gang.artifacts.put(key, json.dumps(document).encode())
    run.gang.start()
    run.gang.wait()
    assert "is not the plan that was deployed" in run.gang.stop_reason


def test_a_segment_that_does_not_fit_its_life_time_says_what_to_do(tmp_path):
    options = {"model": "tiny:build_slow", "layers": [2, 2], "timeout_s": 3, "checkpoint_s": 2.0, "epochs": 10_000}
    run = FixtureRun(tmp_path, **options)
    run.gang.start()
    run.gang.wait()
    assert "does not fit into the functions' life time" in run.gang.failure.error
    assert "Plan again with more stages or larger limits.memory_mb" in run.gang.failure.error
    assert run.gang.failure.traceback == ""
    assert next(outcome for outcome in run.outcomes if isinstance(outcome, Abort)).retryable is False


def test_a_stage_saves_its_layers_while_those_before_it_still_compute(tmp_path):
    """The first stage's last backward pass waits for a layer's file, which only the other stage can have written."""
    arguments = {"at": 8, "pattern": str(tmp_path / "artifacts/runs/run/layers/00000/*.safetensors")}
    options = {"model": "tiny:build_waiting", "model_args": arguments, "layers": [2, 1], "iterations": 2}
    run = FixtureRun(tmp_path, global_batch_size=16, micro_batch_size=4, **options).train()
    saved = {int(index): s.event.stage for s in run.summaries for index in s.checkpoint}
    assert saved == {0: 0, 1: 0, 2: 1}


def test_a_life_time_that_is_short_by_the_plan_ends_the_first_segment(tmp_path):
    """Iterations are predicted to take 20 s of 200; what they do take is known from the second segment on."""
    options = {"model": "tiny:build", "layers": [5, 3], "replicas": [2, 1], "global_batch_size": 16}
    options |= {"micro_batch_size": 4, "epochs": 4}
    one = FixtureRun(tmp_path / "one", **options).train()
    many = FixtureRun(tmp_path / "many", timeout_s=200, predicted_iteration_s=20.0, **options).train()
    first, *_, last = many.commits[1:]
    assert 1 <= first.iteration <= 200 / (3 * 20), "an iteration may take three times as long as predicted"
    assert first.reason is EndReason.TIME and last.reason is EndReason.FINISHED
    assert all(torch.equal(many.weights[name], value) for name, value in one.weights.items())
    assert many.inbox_objects == []
    for segment, commit in enumerate(many.commits[1:]):
        ends = [summary.end_iteration for summary in many.summaries if summary.event.segment == segment]
        assert ends == [commit.iteration] * 3, "all workers of a gang end at the same iteration"


def test_a_killed_gang_is_tried_again_and_nothing_of_it_is_in_the_result(tmp_path):
    options = {"model": "tiny:build", "layers": [5, 3], "replicas": [1, 2], "global_batch_size": 16}
    options |= {"micro_batch_size": 4, "epochs": 8, "model_args": {"dropout": 0.2}, "segment_iterations": 16}
    whole = FixtureRun(tmp_path / "whole", **options).train()
    run = FixtureRun(tmp_path / "killed", **options)
    run.gang.start()
    DirectoryStore(run.root / "inbox-001").put(keys.GangKeys("run", 1, 0).merged(0, 0, 0), b"read by nobody")
    claim = keys.GangKeys("run", 1, 0).claim(1, 1)
    while claim not in run.gang.artifacts.list(claim):
        assert run.gang.poll(), run.gang.stop_reason
    worker = Claim.model_validate_json(run.gang.artifacts.get(claim)).request_id
    os.kill(int(worker.removeprefix("local-")), signal.SIGKILL)
    run.gang.wait()
    assert run.gang.stop_reason is None
    assert run.inbox_objects == [], "the gang that went on has swept up"
    (aborted,) = [outcome for outcome in run.outcomes if isinstance(outcome, Abort)]
    assert (aborted.failure.kind, aborted.retryable) == (FailureKind.DIED, True)
    assert all(torch.equal(run.weights[name], value) for name, value in whole.weights.items())


def test_a_loss_that_is_not_finite_ends_the_run_at_its_last_good_checkpoint(tmp_path):
    optimizer = {"name": "sgd", "lr": 1e30}
    run = FixtureRun(tmp_path, model="tiny:build", layers=[5, 3], optimizer=optimizer, segment_iterations=1)
    run.gang.start()
    run.gang.wait()
    assert run.gang.failure.kind is FailureKind.DIVERGED
    assert "The last checkpoint, of 1 iterations, is good" in run.gang.stop_reason
    (aborted,) = [outcome for outcome in run.outcomes if isinstance(outcome, Abort)]
    assert not aborted.retryable and run.commits[-1].iteration == 1
    assert all(torch.isfinite(value).all() for value in run.weights.values())


def test_workers_do_not_outlive_the_process_that_started_them(tmp_path):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.gangs import FixtureRun\n"
        "if __name__ == '__main__':\n"
        f"    run = FixtureRun(Path({str(tmp_path)!r}), model='tiny:build', layers=[4, 4], epochs=100_000)\n"
        "    run.gang.start()\n"
        "    while len(run.gang.worker_pids) < 2:\n"
        "        time.sleep(0.01)\n"
        "    print(*run.gang.worker_pids, flush=True)\n"
        "    run.gang.wait()\n"
    )
    (tmp_path / "owner.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "owner.py")], stdout=subprocess.PIPE, text=True, env=environment
    ) as owner:
        workers = [int(pid) for pid in owner.stdout.readline().split()]
        owner.kill()
    assert len(workers) == 2
    give_up = time.monotonic() + 60
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < give_up, "the workers are still there a minute later"
        time.sleep(0.05)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
