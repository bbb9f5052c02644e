"""The CDK command against the session's emulator."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from localaws import control
from localaws.variables import with_emulator
from tests.conftest import RunningEmulator
from tests.localaws.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


def cdk(emulator: RunningEmulator, verb: str, *options: str | Path) -> str:
    """What it prints, run in the checkout's folder; the test fails when it does."""
    process = _start(emulator, verb, *options)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out


def cdk_killed(
    emulator: RunningEmulator, when: Callable[[], object], what: str, verb: str, *options: str | Path
) -> None:
    """Kills the command, and its app if there is one, as soon as ``when`` holds."""
    process = _start(emulator, verb, *options)
    try:
        wait_until(when, what)
        assert process.poll() is None, f"`cdk {verb}` ended before: {what}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _start(emulator: RunningEmulator, verb: str, *options: str | Path) -> "subprocess.Popen[str]":
    environment = with_emulator(os.environ, emulator.environment)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [control.HOME / "node_modules" / ".bin" / "cdk", verb, "--ci", *options]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
