"""What a run's owner sees when a function dies: the kit's stack on the session's emulator, by the command line."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli.main import main
from runtime import keys
from runtime.records import Failure
from tests.cli.project import write_training_project
from tests.conftest import RunningEmulator
from tests.embedded.cdk import cdk


@pytest.fixture
def dying(emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The manifest of a deployed plan whose last stage is killed in its first forward pass."""
    name = f"job{uuid4().hex[:8]}"
    manifest = write_training_project(
        tmp_path / "p", name=name, replicas=[2, 1], model_args={"die": True}, stall_timeout_s=120.0
    )
    context = ["-c", f"manifest={manifest}", "-c", "packaging=zip", "--output", tmp_path / "cdk.out"]
    cdk(emulator, "deploy", *context, "--require-approval", "never")
    monkeypatch.chdir(emulator.project)
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
    (failure,) = seen["failures"]
    assert (failure["kind"], failure["event"]["stage"], failure["event"]["replica"]) == ("died", 1, 0)
    assert "Runtime.ExitError" in failure["error"] and "signal: killed" in failure["error"]

    assert main(["report", run, "--json"]) == 0
    assert told(capsys)["failures"] == seen["failures"]

    s3, bucket = emulator.client("s3"), artifact_bucket(emulator, dying)
    for replica in range(2):
        record = s3.get_object(Bucket=bucket, Key=keys.GangKeys(run, 0, 0).failure(0, replica))["Body"].read()
        assert Failure.model_validate_json(record).kind == "aborted", "it did not wait for its stall time-out"


def artifact_bucket(emulator: RunningEmulator, manifest: Path) -> str:
    stack = f"funcpipe-{json.loads(manifest.read_text())['name']}"
    (found,) = emulator.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return next(o["OutputValue"] for o in found["Outputs"] if o["OutputKey"] == "ArtifactBucket")
