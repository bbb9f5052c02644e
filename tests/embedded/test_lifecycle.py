"""A stack's whole life on the session's emulator: changed, used, interrupted, removed, and made again."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli.main import main
from localaws.inventory import inventory
from localaws.variables import with_emulator
from runtime.manifest import load_manifest
from tests.cli.project import write_training_project
from tests.conftest import RunningEmulator
from tests.embedded.cdk import cdk, cdk_killed
from tests.localaws.waiting import wait_until


class Project:
    """A small training in a folder, synthesised in two versions that differ in one stage's memory."""

    def __init__(self, emulator: RunningEmulator, folder: Path, **plan: Any) -> None:
        self.emulator, self.folder = emulator, folder
        self.name = f"job{uuid4().hex[:8]}"
        self.stack = f"funcpipe-{self.name}"
        self.manifest = write_training_project(folder, name=self.name, **plan)
        self.first = self.synthesise()

    def synthesise(self) -> Path:
        """The assembly of the manifest as it is."""
        app = self.folder / f"cdk-{uuid4().hex[:8]}"
        context = [f"manifest={self.manifest}", "packaging=zip", "monitoring=on", "tracing=on", "budget_usd=1"]
        given = [word for pair in context for word in ("-c", pair)]
        cdk(self.emulator, "synth", *given, "--output", app, "--quiet", "--strict")
        return app

    def with_more_memory(self) -> Path:
        plan = load_manifest(self.manifest)
        second = plan.stages[1].model_copy(update={"memory_mb": 1_536})
        self.manifest.write_text(plan.model_copy(update={"stages": [plan.stages[0], second]}).to_json())
        return self.synthesise()

    def deploy(self, app: Path) -> str:
        return cdk(self.emulator, "deploy", "--app", app, "--require-approval", "never")

    def destroy(self, app: Path) -> None:
        cdk(self.emulator, "destroy", "--app", app, "--force")

    @property
    def left(self) -> dict[str, list[str]]:
        return inventory(self.stack, self.emulator.environment)

    @property
    def status(self) -> str | None:
        """CloudFormation's word on the stack; None once it is gone, or before it is there."""
        pages = self.emulator.client("cloudformation").get_paginator("list_stacks").paginate()
        found = (s for page in pages for s in page["StackSummaries"] if s["StackName"] == self.stack)
        return next((s["StackStatus"] for s in found if s["StackStatus"] != "DELETE_COMPLETE"), None)

    def await_rest(self) -> None:
        """CloudFormation goes on by itself, as on AWS. A change set that was made and never executed stays so."""
        wait_until(
            lambda: self.status == "REVIEW_IN_PROGRESS" or "IN_PROGRESS" not in (self.status or ""),
            "CloudFormation is at rest",
        )

    def memories(self) -> list[int]:
        functions = self.emulator.client("lambda")
        found = [functions.get_function_configuration(FunctionName=name) for name in self.left["functions"]]
        stages = [f for f in found if "FUNCPIPE_STAGE" in f.get("Environment", {}).get("Variables", {})]
        return [f["MemorySize"] for f in sorted(stages, key=lambda f: f["Environment"]["Variables"]["FUNCPIPE_STAGE"])]


def test_deploy_change_diff_deploy_run_destroy_twice_and_nothing_is_left(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(emulator, tmp_path / "p", replicas=[2, 1])
    second = project.with_more_memory()
    monkeypatch.chdir(emulator.project)
    for _ in range(2):
        project.deploy(project.first)
        assert project.memories() == [1024, 1024]
        changes = cdk(emulator, "diff", "--app", second, "--no-color")
        touched = [line.split()[1] for line in changes.splitlines() if line.startswith(("[~]", "[+]", "[-]"))]
        assert sorted(touched) == ["AWS::Lambda::Function", "AWS::StepFunctions::StateMachine", "Output"], changes
        project.deploy(second)
        assert project.memories() == [1024, 1536]
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
    (stack,) = emulator.client("cloudformation").describe_stacks(StackName=project.stack)["Stacks"]
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
