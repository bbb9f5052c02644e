"""docs/github-workflow.yml: its steps run as GitHub runs them, in a small repository of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import main
from localaws import control
from runtime.manifest import load_manifest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / "docs" / "github-workflow.yml").read_text())
SHIPPED = ("app.py", "cdk.json", "constraints.txt", "cli", "infra", "launch", "localaws", "planner", "runtime")


class Review:
    """A repository whose target branch is its only commit; the pull request is what its folder holds."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.temporary = folder / "repository", folder / "runner"
        self.temporary.mkdir()
        self.repository.mkdir()
        for name in SHIPPED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, self.repository / name)
        (self.repository / ".gitignore").write_text("__pycache__\n")
        commands = folder / "bin"
        commands.mkdir()
        (commands / "cdk").symlink_to(control.HOME / "node_modules" / ".bin" / "cdk")
        (commands / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        start = "import sys; from cli.main import main; sys.exit(main())"
        (commands / "funcpipe").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c \'{start}\' "$@"\n')
        for name in ("python3", "funcpipe"):
            (commands / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "MANIFEST": WORKFLOW["env"]["MANIFEST"],
            "RUNNER_TEMP": str(self.temporary),
            "GITHUB_STEP_SUMMARY": str(self.temporary / "summary.md"),
        }

    @property
    def manifest(self) -> Path:
        return self.repository / WORKFLOW["env"]["MANIFEST"]

    def commit(self) -> None:
        """Makes the folder's present state the target branch."""
        for command in (
            ["init", "--quiet"],
            ["add", "--all"],
            ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message", "base"],
        ):
            subprocess.run(["git", *command], cwd=self.repository, check=True)

    def step(self, name: str) -> None:
        (step,) = [step for step in WORKFLOW["jobs"]["review"]["steps"] if step.get("name") == name]
        environment = {**self.environment, "BASE": "HEAD"}
        # GitHub's default shell (docs.github.com/actions/reference/workflow-syntax-for-github-actions, `shell`).
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=self.repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"

    def comment(self) -> str:
        for name in ("Synthesise", "Synthesise the target branch", "Compare"):
            self.step(name)
        text = (self.temporary / "comment.md").read_text()
        assert (self.temporary / "summary.md").read_text() == text
        return text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job as `funcpipe init` writes it, profiled and planned."""
    folder = tmp_path_factory.mktemp("project") / "mymodel"
    assert main(["init", str(folder)]) == 0
    assert main(["profile", str(folder / "job.toml"), "-o", str(folder / "profile.json")]) == 0
    assert main(["plan", str(folder / "job.toml"), "--profile", str(folder / "profile.json")]) == 0
    return folder


def test_a_changed_plan_shows_what_it_changes_and_no_more(tmp_path: Path, project: Path) -> None:
    review = Review(tmp_path)
    shutil.copytree(project, review.manifest.parent)
    review.commit()
    manifest = load_manifest(review.manifest)
    first = manifest.stages[0]
    larger = first.model_copy(update={"memory_mb": first.memory_mb + 1_000})
    changed: Any = manifest.model_copy(update={"stages": [larger, *manifest.stages[1:]]})
    review.manifest.write_text(changed.to_json())
    text = review.comment()
    assert f"### Plan of `{manifest.name}`" in text
    assert f"[-] {first.memory_mb}" in text and f"[+] {larger.memory_mb}" in text
    touched = {line.split()[1] for line in text.splitlines() if line.startswith(("[~]", "[+]", "[-]"))}
    invoked = {"AWS::Lambda::Function", "AWS::Lambda::Version", "AWS::Lambda::Alias"}
    assert touched <= {*invoked, "AWS::StepFunctions::StateMachine", "Output"}
    assert "AWS::Lambda::Function" in touched and "AWS::Lambda::Alias" in touched


def test_a_first_plan_is_all_new(tmp_path: Path, project: Path) -> None:
    review = Review(tmp_path)
    review.commit()
    shutil.copytree(project, review.manifest.parent)
    text = review.comment()
    assert "[+] AWS::StepFunctions::StateMachine" in text
    assert "[-] AWS" not in text


def test_pull_requests_get_no_credentials() -> None:
    assert WORKFLOW[True] == "pull_request", "YAML reads `on` as true; pull_request_target would run with secrets"
    assert WORKFLOW["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "secrets." not in (ROOT / "docs" / "github-workflow.yml").read_text()
