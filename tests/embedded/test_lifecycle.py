"""A stack's whole life on the session's emulator: changed, used, interrupted, removed, and made again."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from cli.main import main
from localaws.variables import with_emulator
from tests.conftest import RunningEmulator
from tests.embedded.cdk import cdk, cdk_killed
from tests.embedded.project import Project


def test_deploy_change_diff_deploy_run_destroy_twice_and_nothing_is_left(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(emulator, tmp_path / "p", replicas=[2, 1])
    second = project.with_more_memory()
    monkeypatch.chdir(emulator.project)
    for _ in range(2):
        project.deploy(project.first)
        assert project.memories() == [1024, 1024]
        changes = cdk(emulator, "diff", "--app", second, "--no-color", "--method", "template")
        touched = [line.split()[1] for line in changes.splitlines() if line.startswith(("[~]", "[+]", "[-]"))]
        assert sorted(touched) == [
            "AWS::Lambda::Alias",
            "AWS::Lambda::Function",
            "AWS::Lambda::Version",  # the new one comes,
            "AWS::Lambda::Version",  # the old one goes
            "AWS::StepFunctions::StateMachine",
            "Output",
        ], changes
        versions = [function["Version"] for function in project.stage_functions()]
        project.deploy(second)
        assert project.memories() == [1024, 1536]
        same, other = [function["Version"] for function in project.stage_functions()]
        assert same == versions[0] and other != versions[1], "what has changed is published anew, and nothing else"
        assert all(project.left.values()), "each kind is there, so that its absence below means something"

        run = f"run-{uuid4().hex[:8]}"
        assert main(["start", str(project.manifest), "--local", "--run", run, "--wait", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "done"

        project.destroy(second)
        assert project.left == {kind: [] for kind in project.left}


def test_interrupted_deployments_and_removals_are_repeated(emulator: RunningEmulator, tmp_path: Path) -> None:
    project = Project(emulator, tmp_path / "p")
    deploy = ("deploy", "--app", project.first, "--require-approval", "never")
    for when, what in [
        (lambda: project.status, "the stack is known to CloudFormation"),
        (lambda: project.left["functions"], "a function is made"),
    ]:
        cdk_killed(emulator, when, what, *deploy)
        project.await_rest()
        project.deploy(project.first)
        assert project.memories() == [1024, 1024]

        functions = len(project.left["functions"])
        destroy = ("destroy", "--app", project.first, "--force")
        cdk_killed(emulator, lambda: len(project.left["functions"]) < functions, "a function is gone", *destroy)  # noqa: B023
        project.await_rest()
        project.destroy(project.first)
        assert not any(project.left.values())


def test_a_removal_that_failed_half_way_is_repeated(emulator: RunningEmulator, tmp_path: Path) -> None:
    project = Project(emulator, tmp_path / "p")
    project.deploy(project.first)
    s3, inbox = emulator.client("s3"), next(name for name in project.left["buckets"] if "inbox1" in name)
    # With its tag so, CDK's emptying passes the bucket by, and CloudFormation cannot delete it.
    s3.put_bucket_tagging(Bucket=inbox, Tagging={"TagSet": [{"Key": "aws-cdk:auto-delete-objects", "Value": "no"}]})
    s3.put_object(Bucket=inbox, Key="in/the/way")
    with pytest.raises(AssertionError, match="DELETE_FAILED"):
        project.destroy(project.first)
    assert project.left["buckets"] == [inbox]
    s3.delete_object(Bucket=inbox, Key="in/the/way")
    project.destroy(project.first)
    assert not any(project.left.values())


def test_artifacts_that_stay_are_deleted_by_the_command_that_the_stack_names(
    emulator: RunningEmulator, tmp_path: Path
) -> None:
    project = Project(emulator, tmp_path / "p", on_destroy="retain")
    project.deploy(project.first)
    (stack,) = project.formation.describe_stacks(StackName=project.stack)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    s3, bucket = emulator.client("s3"), outputs["ArtifactBucket"]
    for body in (b"old", b"new"):
        s3.put_object(Bucket=bucket, Key="runs/r/weights", Body=body)
    project.destroy(project.first)
    assert project.left == {**{kind: [] for kind in project.left}, "buckets": [bucket]}
    assert s3.get_object(Bucket=bucket, Key="runs/r/weights")["Body"].read() == b"new"
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 2

    said, command = outputs["AfterDestroy"].split(": ", 1)
    assert said.startswith(f"s3://{bucket} stays")
    words = [sys.executable if word == "python3" else word for word in shlex.split(command)]
    subprocess.run(words, env=with_emulator(os.environ, emulator.environment), check=True)
    assert not any(project.left.values())
