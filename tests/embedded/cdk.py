"""The CDK command against the session's emulator."""

import os
import subprocess
import sys
from pathlib import Path

from localaws import control
from localaws.variables import with_emulator
from tests.conftest import RunningEmulator

ROOT = Path(__file__).resolve().parents[2]


def cdk(emulator: RunningEmulator, verb: str, *options: str | Path) -> str:
    """What it prints, run in the checkout's folder; the test fails when it does."""
    environment = with_emulator(os.environ, emulator.environment)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [control.HOME / "node_modules" / ".bin" / "cdk", verb, "--ci", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
