"""The tests of ``runtime`` in the image's environment, to which pytest is lent from a folder beside it.

Where torch cannot be had for the image's Python, those tests that need none run in an environment without it: of the
plan's format, schedules, names of objects, stores, outcomes and the handler's records, but of no arithmetic.
"""

import json
import os
import re
import subprocess
from pathlib import Path

from runtime.errors import FuncpipeError

_ROOT = Path(__file__).resolve().parent.parent
_REQUIREMENTS = _ROOT / "runtime" / "requirements.txt"
_LENT = ("pytest", "hypothesis")
_WITHOUT_TORCH = """
import compileall, importlib, json, pathlib, sys
assert compileall.compile_dir("runtime", quiet=1, force=True), "a module of runtime is no valid Python"
fit = []
for path in sorted(pathlib.Path("tests/runtime").glob("test_*.py")):
    try:
        importlib.import_module(f"tests.runtime.{path.stem}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
    else:
        fit.append(path.as_posix())
print(json.dumps(fit))
"""
"""Asks which test modules can be imported, after each module of runtime has been compiled."""


def run_runtime_tests(python: Path, folder: Path) -> str:
    """Returns pytest's last line.

    Raises:
        FuncpipeError: a test failed, or pytest could not be installed; the end of the output is in the message.
    """
    tools = folder / "tools"
    install = ["-m", "pip", "install", "--quiet", "--target", str(tools), "-c", str(_ROOT / "constraints.txt"), *_LENT]
    _run([str(python), *install], {})
    return _pytest(python, ["tests/runtime"], f"{_ROOT}{os.pathsep}{tools}")


def run_tests_without_torch(python: Path, folder: Path) -> str:
    """Runs what needs no torch, by an interpreter of the image's version. Returns pytest's last line, and what not.

    Raises:
        FuncpipeError: a test failed, or its environment could not be made; the end of the output is in the message.
    """
    venv = folder / "without-torch"
    _run([str(python), "-m", "venv", str(venv)], {})
    lines = _REQUIREMENTS.read_text().splitlines()
    needed = [line for line in lines if line and not line.startswith(("#", "torch=="))]
    inside = venv / "bin" / "python"
    constraints = str(_ROOT / "constraints.txt")
    _run([str(inside), "-m", "pip", "install", "--quiet", "-c", constraints, *needed, *_LENT], {})
    pycache = {"PYTHONPATH": str(_ROOT), "PYTHONPYCACHEPREFIX": str(folder / "pycache")}
    fit = json.loads(_run([str(inside), "-c", _WITHOUT_TORCH], pycache)[-1])
    every = sorted(path.stem for path in (_ROOT / "tests" / "runtime").glob("test_*.py"))
    rest = [name for name in every if f"tests/runtime/{name}.py" not in fit]
    if not fit:
        raise FuncpipeError("no module of tests/runtime can be imported without torch")
    ended = _pytest(inside, fit, str(_ROOT))
    return f"{ended}, of {len(fit)} of {len(every)} modules; not run, as they need torch: {', '.join(rest)}"


def _pytest(python: Path, paths: list[str], python_path: str) -> str:
    """Pytest's last line."""
    lines = _run(
        [str(python), "-m", "pytest", *paths, "-p", "no:cacheprovider"],
        {"PYTHONPATH": python_path, "PYTHONDONTWRITEBYTECODE": "1"},
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
