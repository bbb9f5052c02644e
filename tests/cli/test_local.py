import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli import local
from localaws import control
from runtime.errors import FuncpipeError, UserInputError
from tests.conftest import RunningEmulator


@dataclass
class RecordingScreen:
    """Keeps what a command shows."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def info(self, text: str) -> None:
        """Not part of the answer."""

    def result(self, document: dict[str, Any], text: str) -> None:
        json.dumps(document, allow_nan=False)
        self.documents.append(document)
        self.texts.append(text)


def run(*arguments: str) -> tuple[int, RecordingScreen]:
    parser = argparse.ArgumentParser()
    local.add_parser(parser.add_subparsers())
    args, screen = parser.parse_args(["local", *arguments]), RecordingScreen()
    return args.handler(args, screen), screen


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose project has no emulator."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inside(emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEmulator]:
    """The working directory is the project of the running emulator."""
    monkeypatch.chdir(emulator.project)
    yield emulator


@pytest.mark.parametrize("command", [["env"], ["exec", "--", "true"]])
def test_an_emulator_that_is_not_running_is_the_users_to_start(elsewhere: Path, command: list[str]) -> None:
    with pytest.raises(UserInputError, match=r"not running.*funcpipe local up"):
        run(*command)


def test_status_and_down_without_an_emulator(elsewhere: Path) -> None:
    status, screen = run("status")
    assert (status, screen.documents) == (0, [{"running": False}])
    assert "funcpipe local up" in screen.texts[0]
    status, screen = run("down")
    assert (status, screen.documents) == (0, [{"stopped": False}])


def test_a_failed_start_is_told_without_a_traceback(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HOME", elsewhere)
    with pytest.raises(FuncpipeError, match="make setup"):
        run("up")


def test_up_says_that_it_runs_already(inside: RunningEmulator) -> None:
    status, screen = run("up")
    assert status == 0
    assert screen.documents[0]["started"] is False
    assert inside.endpoint in screen.texts[0]


def test_status_has_all_that_a_program_needs(inside: RunningEmulator) -> None:
    _, screen = run("status")
    document = screen.documents[0]
    assert document["running"] is True
    assert document["endpoint"] == inside.endpoint
    assert document["environment"] == inside.environment
    assert "AWS_PROFILE" in document["unset"]


def test_env_is_for_a_shell(inside: RunningEmulator) -> None:
    _, screen = run("env")
    script = screen.texts[0] + '\necho "$AWS_ENDPOINT_URL ${AWS_PROFILE-unset} $CDK_HOME"'
    environment = {**os.environ, "AWS_PROFILE": "mine"}
    shell = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert shell.stdout.split() == [inside.endpoint, "unset", inside.environment["CDK_HOME"]]


def test_exec_gives_a_command_the_emulators_environment(
    inside: RunningEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    script = f'echo "$AWS_ENDPOINT_URL ${{AWS_PROFILE-unset}} $PATH" > {tmp_path}/seen; exit 7'
    status, _ = run("exec", "--", "sh", "-c", script)
    assert status == 7
    endpoint, profile, path = (tmp_path / "seen").read_text().split(maxsplit=2)
    assert (endpoint, profile) == (inside.endpoint, "unset")
    assert path.split(":")[:2] == [str(Path(sys.executable).parent), str(control.HOME / "node_modules" / ".bin")]


def test_exec_passes_options_on(inside: RunningEmulator, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("exec", "--", "echo", "-n", "--json", "--", "x")[0] == 0
    assert capfd.readouterr().out == "--json -- x"


def test_exec_of_a_command_that_a_signal_ends(inside: RunningEmulator) -> None:
    assert run("exec", "--", "sh", "-c", "kill -9 $$")[0] == 128 + 9


@pytest.mark.parametrize("command, message", [([], "No command given"), (["--", "no-such-command"], "not found")])
def test_exec_needs_a_command(inside: RunningEmulator, command: list[str], message: str) -> None:
    with pytest.raises(UserInputError, match=message):
        run("exec", *command)
