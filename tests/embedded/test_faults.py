"""What a run's owner sees when a function dies: the kit's stack on the session's emulator, by the command line."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli.main import main
from runtime import keys
from runtime.records import Abort, Failure, parse_outcome
from tests.cli.project import write_training_project
from tests.conftest import RunningEmulator
from tests.embedded.cdk import cdk

COMMIT_SEED = 0
"""Of a zombie that is killed at its commit."""


@pytest.fixture
def dying(emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The manifest of a deployed plan whose last stage is killed in its first forward pass."""
    monkeypatch.chdir(emulator.project)
    return deployed(emulator, tmp_path, model_args={"die": True})


def deployed(emulator: RunningEmulator, folder: Path, **plan: Any) -> Path:
    """The manifest of a plan of two workers and one after them, deployed under a name of its own."""
    name = f"job{uuid4().hex[:8]}"
    manifest = write_training_project(folder / "p", name=name, replicas=[2, 1], stall_timeout_s=120.0, **plan)
    context = ["-c", f"manifest={manifest}", "-c", "packaging=zip", "--output", folder / "cdk.out"]
    cdk(emulator, "deploy", *context, "--require-approval", "never")
    return manifest


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def test_a_killed_function_is_told_of_and_stops_its_gang(
    emulator: RunningEmulator, dying: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"run-{uuid4().hex[:8]}"
    assert main(["start", str(dying), "--local", "--run", run, "--wait", "--json"]) == 1
    seen = told(capsys)
    assert seen["state"] == "failed"
    assert [failure["event"]["attempt"] for failure in seen["failures"]] == [0, 1, 2], "each attempt meets it again"
    for failure in seen["failures"]:
        assert (failure["kind"], failure["event"]["stage"], failure["event"]["replica"]) == ("died", 1, 0)
        assert "Runtime.ExitError" in failure["error"] and "signal: killed" in failure["error"]

    assert main(["report", run, "--json"]) == 0
    assert told(capsys)["failures"] == seen["failures"]

    s3, bucket = emulator.client("s3"), artifact_bucket(emulator, dying)
    for gang in [keys.GangKeys(run, 0, attempt) for attempt in range(3)]:
        outcome = parse_outcome(s3.get_object(Bucket=bucket, Key=gang.outcome)["Body"].read())
        assert isinstance(outcome, Abort) and outcome.retryable
        for replica in range(2):
            record = s3.get_object(Bucket=bucket, Key=gang.failure(0, replica))["Body"].read()
            assert Failure.model_validate_json(record).kind == "aborted", "it did not wait for its stall time-out"


def test_runs_that_meet_faults_end_with_the_weights_of_one_that_does_not(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The leader is killed as it commits: its commit comes when the next attempt has begun, and is refused."""
    manifest = deployed(emulator, tmp_path)
    monkeypatch.chdir(emulator.project)
    assert main(["chaos", str(manifest), "--kind", "zombie", "--runs", "1", "--seed", str(COMMIT_SEED), "--json"]) == 0
    told_of = told(capsys)
    assert (told_of["runs"], told_of["passed"]) == (1, 1)
    (trial,) = told_of["trials"]
    assert trial["met"] and trial["equal"] and trial["wrong"] == []
    assert (trial["aborted"], trial["refused_outcomes"]) == (1, 1)
    price = told_of["without_fault"]["price"]
    assert price["invocations"] == 3 and abs(price["counted"] - price["reported"]) <= price["tail"]


def test_faults_that_cannot_be_made_are_refused(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(emulator.project)
    manifest = write_training_project(tmp_path / "p", name=f"job{uuid4().hex[:8]}")
    for options, said in (
        (["--kind", "melt"], "there is no such fault. Known: kill, hang"),
        (["--runs", "0"], "--runs must be at least 1"),
        ([], "is not deployed. Deploy it with"),
    ):
        assert main(["chaos", str(manifest), *options]) == 2
        assert said in capsys.readouterr().err


def artifact_bucket(emulator: RunningEmulator, manifest: Path) -> str:
    stack = f"funcpipe-{json.loads(manifest.read_text())['name']}"
    (found,) = emulator.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return next(o["OutputValue"] for o in found["Outputs"] if o["OutputKey"] == "ArtifactBucket")
