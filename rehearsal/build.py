"""Carries out a Dockerfile's steps in a folder: a fresh virtual environment for its Python, a folder for its root."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from string import Template

from rehearsal.dockerfile import Copy, Environment, Run, Step, Workdir
from runtime.errors import FuncpipeError

_TASK_ROOT = "/var/task"
"""The base images' LAMBDA_TASK_ROOT and working directory (docs.aws.amazon.com/lambda/latest/dg/python-image.html, read
2026-11-24)."""
_BROUGHT_BY_VENV = ("pip", "setuptools")
_OF_THE_HOST = ("PIP_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""How this machine reaches package indexes."""


@dataclass(frozen=True)
class Part:
    """One thing in the image above its base: a distribution with its version, or the code."""

    name: str
    version: str
    size_bytes: int


class Build:
    """An image in the making.

    Args:
        context: the build context.
        folder: where the image is made; must not exist.
        python: interpreter that stands for the base image's.
        log: file that receives the commands' output.

    Raises:
        FuncpipeError: the virtual environment cannot be made.
    """

    def __init__(self, *, context: Path, folder: Path, python: Path, log: Path) -> None:
        self._context, self._root, self._log = context, folder / "root", log
        self._venv = folder / "venv"
        self.task_root = self._place(_TASK_ROOT)
        self.task_root.mkdir(parents=True)
        self._workdir = self.task_root
        self._variables = {
            **{name: value for name, value in os.environ.items() if name.startswith(_OF_THE_HOST)},
            "PIP_RETRIES": "1",
            "PATH": f"{self._venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "en_US.UTF-8",
            "LAMBDA_TASK_ROOT": _TASK_ROOT,
        }
        self._command([str(python), "-m", "venv", str(self._venv)])

    @property
    def python(self) -> Path:
        """The interpreter that has what the image has."""
        return self._venv / "bin" / "python"

    def carry_out(self, step: Step, tell: Callable[[str], None]) -> None:
        """One step, the next of its Dockerfile; told with its seconds.

        Raises:
            FuncpipeError: it failed; the end of its output is in the message.
        """
        began = time.monotonic()
        match step:
            case Environment():
                self._variables |= step.variables
            case Workdir():
                self._workdir = self._place(step.path)
                self._workdir.mkdir(parents=True, exist_ok=True)
            case Copy():
                self._copy(step)
            case Run():
                self._command(["sh", "-c", step.command])
        tell(f"{time.monotonic() - began:6.1f} s  {describe(step)}")

    def parts(self) -> list[Part]:
        """What the steps have put above the base image, largest first."""
        (packages,) = self._venv.glob("lib/python3.*/site-packages")
        found = [Part("code and model", "", _bytes_below(self.task_root))]
        for distribution in distributions(path=[str(packages)]):
            files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
            size = sum(file.stat().st_size for file in files if file.is_file())
            if distribution.name not in _BROUGHT_BY_VENV:
                found.append(Part(distribution.name, distribution.version, size))
        return sorted(found, key=lambda part: -part.size_bytes)

    def _place(self, path: str) -> Path:
        """Where a path of the image is on this machine; a relative one is below the working directory."""
        variables = {"LAMBDA_TASK_ROOT": _TASK_ROOT}
        expanded = Template(path).substitute(variables)
        return self._root / expanded.lstrip("/") if expanded.startswith("/") else self._workdir / expanded

    def _copy(self, step: Copy) -> None:
        target = self._place(step.folder)
        for name in step.sources:
            origin = self._context / name
            if origin.is_dir():
                shutil.copytree(origin, target, dirs_exist_ok=True)
            elif origin.is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, target)
            else:
                raise FuncpipeError(f"{describe(step)}: {name} is not in the build context.")

    def _command(self, command: list[str]) -> None:
        with self._log.open("a+", errors="replace") as log:
            begin = log.tell()
            done = subprocess.run(
                command,
                cwd=self._workdir,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
            log.seek(begin)
            tail = log.read().splitlines()[-8:] if done.returncode else []
        if done.returncode:
            raise FuncpipeError(
                f"exit status {done.returncode} of: {command[-1]}\n" + "\n".join(f"  | {line}" for line in tail)
            )


def describe(step: Step) -> str:
    """The step as the Dockerfile has it."""
    match step:
        case Environment():
            return "ENV " + " ".join(f"{name}={value}" for name, value in step.variables.items())
        case Workdir():
            return f"WORKDIR {step.path}"
        case Copy():
            return f"COPY {' '.join(step.sources)} {step.folder}"
        case Run():
            return f"RUN {' '.join(step.command.split())}"


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
