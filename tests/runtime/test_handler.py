"""The Lambda entry in a process of its own, as Lambda runs it: what it writes to its log."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.handler import _life
from runtime.keys import GangKeys
from runtime.outcome import decide, last_commit
from runtime.records import Abort
from tests.faults.trial import SOURCE as STRUCK
from tests.gangs import SOURCE, FixtureRun

ROOT = Path(__file__).resolve().parents[2]
INVOKE = """
import json, sys
from types import SimpleNamespace
from runtime.handler import handler
context = SimpleNamespace(aws_request_id="the-request", get_remaining_time_in_millis=lambda: 300_000)
handler(json.loads(sys.argv[1]), context)
"""


def invoke(run: FixtureRun, **environment: str) -> tuple[int, list[str]]:
    """Exit status, and the lines on standard output."""
    event = {"run": run.run, "segment": 0, "attempt": 0, "stage": 0, "replica": 0, "commit": "initial"}
    event["manifest_sha256"] = run.manifest.sha256
    surroundings = {
        **os.environ,
        "FUNCPIPE_STAGE": "0",
        "FUNCPIPE_ARTIFACTS_URL": run.gang.artifacts_url,
        "FUNCPIPE_INBOX_URLS": json.dumps({"0": (run.root / "inbox").as_uri()}),
        "FUNCPIPE_SOURCE": str(SOURCE),
        "FUNCPIPE_THREADS": "1",
        **environment,
    }
    command = [sys.executable, "-c", INVOKE, json.dumps(event)]
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def plan(**model_args: Any) -> dict[str, Any]:
    return {"model": "tiny:build", "model_args": model_args, "layers": [8], "iterations": 4, "segment_iterations": 3}


def test_a_segment_in_the_log(tmp_path: Path) -> None:
    status, lines = invoke(FixtureRun(tmp_path, **plan()))
    assert status == 0
    started, finished = map(json.loads, lines)
    for line in (started, finished):
        assert {key: line[key] for key in ("run", "segment", "attempt", "stage", "replica")} == {
            "run": "run",
            "segment": 0,
            "attempt": 0,
            "stage": 0,
            "replica": 0,
        }
        assert line["level"] == "INFO" and line["time"].endswith("Z")
    assert (started["message"], started["request_id"]) == ("worker started", "the-request")
    assert (finished["message"], finished["first_iteration"], finished["end_iteration"]) == ("worker finished", 0, 3)
    assert finished["seconds"] > 0 and finished["peak_memory_mb"] > 0 and finished["puts"] > 0


def test_debug_adds_a_line_per_iteration(tmp_path: Path) -> None:
    run = FixtureRun(tmp_path, **plan())
    status, lines = invoke(run, FUNCPIPE_LOG_LEVEL="DEBUG")
    assert status == 0
    done = [line for line in map(json.loads, lines) if line["level"] == "DEBUG"]
    assert [line["iteration"] for line in done] == [0, 1, 2]
    assert [line["loss"] for line in done] == run.summaries[0].losses
    assert [line["segment_share"] for line in done] == [pytest.approx(share) for share in (1 / 3, 2 / 3, 1)]
    assert all(line["message"] == "iteration done" and line["seconds"] > 0 for line in done)


def test_a_failure_in_the_log_says_where_and_why(tmp_path: Path) -> None:
    """At level ERROR it is the only line."""
    run = FixtureRun(tmp_path, **plan(raise_at=5))
    status, lines = invoke(run, FUNCPIPE_LOG_LEVEL="ERROR")
    assert status == 1
    (line,) = map(json.loads, lines)
    (failure,) = run.failures
    assert (line["level"], line["message"], line["kind"]) == ("ERROR", "worker failed", "exception")
    assert line["error"] == failure.error == "ValueError: the layer gave up"
    assert (line["iteration"], line["instruction"]) == (failure.iteration, failure.instruction) == (1, "F1")
    assert line["traceback"] == failure.traceback and "tiny.py" in line["traceback"]


def test_an_event_for_another_stage_is_logged_too(tmp_path: Path) -> None:
    status, lines = invoke(FixtureRun(tmp_path, **plan()), FUNCPIPE_STAGE="1")
    assert status == 1
    _, failed = map(json.loads, lines)
    assert failed["error"] == "FuncpipeError: this is the function of stage 1, not 0"


def test_code_that_is_not_what_was_planned_for_trains_nothing(tmp_path: Path) -> None:
    """An image may have been built from another source, or by another pipeline than the one that deploys it."""
    other = tmp_path / "source"
    shutil.copytree(SOURCE, other)
    (other / "tiny.py").write_text((other / "tiny.py").read_text() + "# changed\n")
    run = FixtureRun(tmp_path / "run", **plan())
    status, lines = invoke(run, FUNCPIPE_SOURCE=str(other))
    assert status == 1
    _, failed = map(json.loads, lines)
    assert f"{other} is not the source that the plan was made for" in failed["error"]
    assert f"planned: {run.manifest.hashes.source}" in failed["error"]
    (failure,) = run.failures
    assert failure.kind == "exception" and failure.iteration is None and failure.traceback == ""


def test_metrics_are_in_the_log_when_asked_for_and_up_to_a_failure(tmp_path: Path) -> None:
    for name, model_args, status, iterations in [("well", {}, 0, 3), ("failing", {"raise_at": 5}, 1, 1)]:
        run = FixtureRun(tmp_path / name, **plan(**model_args))
        ended, lines = invoke(run, FUNCPIPE_METRICS="stack/Training")
        assert ended == status
        metrics = [
            line for line in map(json.loads, lines) if "_aws" in line
        ]  # one each 10 s, from before torch is there
        assert all(line["Training"] == "stack/Training" for line in metrics)
        for figure in ("IterationSeconds", "Loss"):
            assert sum(len(line.get(figure, [])) for line in metrics) == iterations
        assert metrics[-1]["SegmentProgress"][-1] == pytest.approx(100 * iterations / 3)


def test_a_second_invocation_of_a_worker_ends_at_once_and_changes_nothing(tmp_path: Path) -> None:
    run = FixtureRun(tmp_path, **plan())
    assert invoke(run)[0] == 0
    before = {key: run.gang.artifacts.get(key) for key in run.gang.artifacts.list("")}
    status, lines = invoke(run)
    assert status == 0
    _, told = map(json.loads, lines)
    assert (told["level"], told["message"]) == ("WARNING", "worker runs already; this invocation ends")
    assert {key: run.gang.artifacts.get(key) for key in run.gang.artifacts.list("")} == before


def test_a_worker_of_an_attempt_that_was_aborted_ends_before_it_trains(tmp_path: Path) -> None:
    """A zombie, or one that was started late."""
    run = FixtureRun(tmp_path, **plan())
    abort = Abort(reason="failure", retryable=True, message="the others are gone", begun_at=0.0, at=1.0)
    decide(run.gang.artifacts, GangKeys(run.run, 0, 0), abort)
    status, _ = invoke(run)
    assert status == 1
    (failure,) = run.failures
    assert (failure.kind, failure.iteration) == ("aborted", None)
    assert failure.error == "GangAborted: the others are gone"
    assert len(run.commits) == 1


def test_a_loss_that_is_not_finite_ends_the_run_at_its_last_checkpoint(tmp_path: Path) -> None:
    run = FixtureRun(tmp_path, **plan() | {"optimizer": {"name": "sgd", "lr": 1e30}})
    status, _ = invoke(run)
    assert status == 1
    (abort,) = [outcome for outcome in run.outcomes if isinstance(outcome, Abort)]
    assert (abort.failure.kind, abort.retryable) == ("diverged", False)
    assert "The last checkpoint, of 0 iterations, is good" in abort.message and abort.failure.traceback == ""
    assert last_commit(run.gang.artifacts, run.run).number == 0


def test_the_start_up_of_an_environment_is_billed_with_its_first_invocation(tmp_path: Path) -> None:
    run = FixtureRun(tmp_path, **plan())
    assert invoke(run)[0] == 0
    (summary,) = run.summaries
    assert 0 < summary.init_s < 60
    assert last_commit(run.gang.artifacts, run.run).billed_s >= summary.init_s + summary.ended_at - summary.started_at


@pytest.mark.parametrize(
    ("told_s", "first_s"), [(299.0, 299.0), (3_900.0, 300.0), (-3_300.0, 300.0)], ids=["right", "behind", "ahead"]
)
def test_a_wrong_wall_clock_does_not_change_how_long_a_worker_may_live(told_s: float, first_s: float) -> None:
    """By the context, the time left is the deadline less the wall clock."""
    remaining_s = _life(told_s, 300.0, began=time.monotonic() - 10.0)
    assert first_s - 11.0 < remaining_s() <= first_s - 10.0


def test_a_worker_in_a_long_layer_is_ended_and_its_log_says_so(tmp_path: Path) -> None:
    """The forward pass would take an hour; the attempt is aborted when it has begun."""
    marker = tmp_path / "there"
    arguments = {"layer": 0, "how": "long layer", "call": 1, "marker": str(marker)}
    run = FixtureRun(
        tmp_path, source=STRUCK, model="struck:build", model_args=arguments, data="struck:data", layers=[6]
    )
    abort = Abort(reason="stopped", retryable=False, message="enough", begun_at=0.0, at=0.0)

    def abort_in_time() -> None:
        while not marker.exists():
            time.sleep(0.01)
        decide(run.gang.artifacts, GangKeys("run", 0, 0), abort)

    aborting = threading.Thread(target=abort_in_time)
    aborting.start()
    status, lines = invoke(run, FUNCPIPE_SOURCE=str(STRUCK))
    aborting.join()
    assert status == 1
    _, ended = map(json.loads, lines)
    assert ended["message"] == "worker failed, and was ended while it was computing"
    assert (ended["kind"], ended["instruction"]) == ("aborted", "F0")
    (failure,) = run.failures
    assert failure.error == "GangAborted: enough"
