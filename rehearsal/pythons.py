"""Interpreters on this machine by version."""

import os
import shutil
import subprocess
from pathlib import Path


def find_python(version: str) -> Path | None:
    """An interpreter of ``version`` ("3.12"), on PATH or one of pyenv's; None when there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    return next((path for path in candidates if python_version(path).startswith(f"{version}.")), None)


def python_version(python: Path) -> str:
    """Its version, e.g. "3.12.1"; empty when it does not run, as a shim of pyenv whose version is not selected."""
    ask = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
