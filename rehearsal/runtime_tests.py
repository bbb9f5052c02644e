"""The tests of ``runtime`` in the image's environment, to which pytest is lent from a folder beside it."""

import os
import re
import subprocess
from pathlib import Path

from runtime.errors import FuncpipeError

_ROOT = Path(__file__).resolve().parent.parent
_LENT = ("pytest", "hypothesis")


def run_runtime_tests(python: Path, folder: Path) -> str:
    """Returns pytest's last line.

    Raises:
        FuncpipeError: a test failed, or pytest could not be installed; the end of the output is in the message.
    """
    tools = folder / "tools"
    install = ["-m", "pip", "install", "--quiet", "--target", str(tools), "-c", str(_ROOT / "constraints.txt"), *_LENT]
    _run([str(python), *install], {})
    lines = _run(
        [str(python), "-m", "pytest", "tests/runtime", "-p", "no:cacheprovider"],
        {"PYTHONPATH": f"{_ROOT}{os.pathsep}{tools}", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return re.sub(r"^=+ | =+$", "", lines[-1])


def _run(command: list[str], variables: dict[str, str]) -> list[str]:
    done = subprocess.run(
        command, cwd=_ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode:
        raise FuncpipeError(f"exit status {done.returncode} of {' '.join(command[1:4])}:\n" + "\n".join(lines[-25:]))
    return lines
