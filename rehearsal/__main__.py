"""``python -m rehearsal MANIFEST``: builds the workers' image of a plan without Docker, and trains one segment in it.

Exit status: 0; 1 when a step, a worker or a test failed; 2 when the input cannot be used.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.image_context import write_image_context
from launch.staging import source_folder
from rehearsal.build import Build, Part
from rehearsal.dockerfile import Dockerfile, Run, read_dockerfile
from rehearsal.gang import Code, train_segment
from rehearsal.pythons import find_python, python_version
from rehearsal.runtime_tests import run_runtime_tests, run_tests_without_torch
from rehearsal.wheels import check_wheels
from runtime.errors import FuncpipeError, UserInputError
from runtime.limits import LAMBDA_IMAGE_BYTES
from runtime.manifest import Architecture, Manifest, load_manifest
from runtime.records import WorkerSummary

Tell = Callable[[str], None]


@dataclass
class Account:
    """What a rehearsal found.

    ``wheels`` counts the distributions that have one for the image's Python, by architecture; ``tests`` is pytest's
    last line and what was left out, or why none was run.
    """

    base: str
    image_python: str
    python: str = ""
    other_python_because: str | None = None
    parts: list[Part] = field(default_factory=list)
    wheels: dict[str, int] = field(default_factory=dict)
    workers: list[WorkerSummary] = field(default_factory=list)
    tests: str = "not asked for"

    def to_dict(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "image_python": self.image_python,
            "python": self.python,
            "other_python_because": self.other_python_because,
            "parts": [asdict(part) for part in self.parts],
            "size_bytes": self.size_bytes,
            "limit_bytes": LAMBDA_IMAGE_BYTES,
            "wheels_besides_torch": self.wheels,
            "workers": [
                {
                    "stage": worker.event.stage,
                    "replica": worker.event.replica,
                    "iterations": worker.end_iteration - worker.first_iteration,
                    "seconds": worker.ended_at - worker.started_at,
                    "peak_memory_mb": worker.peak_memory_mb,
                }
                for worker in self.workers
            ],
            "runtime_tests": self.tests,
        }

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)


def rehearse(manifest: Manifest, source: Path, python: Path | None, tests: bool, folder: Path, tell: Tell) -> Account:
    """All of it, in an empty ``folder``. Raises FuncpipeError and UserInputError as its parts do."""
    context = folder / "context"
    write_image_context(context, manifest.package.requirements, source)
    dockerfile = read_dockerfile(context / "Dockerfile")
    account = Account(dockerfile.base, dockerfile.python)
    build = _begin(dockerfile, context, folder, python, account, tell)
    for step in dockerfile.steps[_torch_step(dockerfile) + 1 :]:
        build.carry_out(step, tell)
    account.parts = build.parts()
    tell(f"above the base image: {account.size_bytes / 1e6:,.0f} MB; Lambda takes {LAMBDA_IMAGE_BYTES / 1e6:,.0f} MB")
    for architecture in Architecture:
        account.wheels[architecture.value] = check_wheels(account.parts, build.python, dockerfile.python, architecture)
        tell(
            f"{account.wheels[architecture.value]} wheels besides torch for {dockerfile.python} on {architecture.value}"
        )
    code = Code(build.python, build.task_root, dockerfile.handler)
    account.workers = train_segment(manifest, source, code, folder / "run")
    iterations = account.workers[0].end_iteration - account.workers[0].first_iteration
    tell(f"{len(account.workers)} workers trained a segment of {iterations} iterations through awslambdaric")
    if tests:
        account.tests = _tests(dockerfile, build, account, folder)
        tell(f"tests of runtime: {account.tests}")
    return account


def _tests(dockerfile: Dockerfile, build: Build, account: Account, folder: Path) -> str:
    """What became of the tests of ``runtime``: in the image's Python all of them, or those that need no torch."""
    if account.python.startswith(f"{dockerfile.python}."):
        return run_runtime_tests(build.python, folder)
    if (python := find_python(dockerfile.python)) is not None:
        return f"Python {python_version(python)} without torch: {run_tests_without_torch(python, folder)}"
    return f"skipped: there is no Python {dockerfile.python}, and `make test` runs them in {account.python}"


def _torch_step(dockerfile: Dockerfile) -> int:
    """The first command, which installs torch."""
    return next(index for index, step in enumerate(dockerfile.steps) if isinstance(step, Run))


def _begin(
    dockerfile: Dockerfile, context: Path, folder: Path, named: Path | None, account: Account, tell: Tell
) -> Build:
    """A build up to torch, in the image's version of Python, or in this one where no such torch can be had for that.

    ``named`` is used instead, whatever it is.
    """
    wanted = named or find_python(dockerfile.python)
    if wanted is not None:
        try:
            return _up_to_torch(dockerfile, context, folder / "image", wanted, account, tell)
        except FuncpipeError as error:
            if named is not None:
                raise
            account.other_python_because = f"torch cannot be installed for Python {dockerfile.python} here: {error}"
    else:
        account.other_python_because = f"no Python {dockerfile.python} on this machine"
    tell(f"not in the image's Python {dockerfile.python}: {account.other_python_because}")
    return _up_to_torch(dockerfile, context, folder / "image-other-python", Path(sys.executable), account, tell)


def _up_to_torch(
    dockerfile: Dockerfile, context: Path, folder: Path, python: Path, account: Account, tell: Tell
) -> Build:
    account.python = python_version(python)
    tell(f"{dockerfile.base}, rehearsed with Python {account.python} ({python})")
    build = Build(context=context, folder=folder, python=python, log=folder.with_suffix(".log"))
    for step in dockerfile.steps[: _torch_step(dockerfile) + 1]:
        build.carry_out(step, tell)
    return build


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearses; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal",
        description="Carry out the steps of the workers' Dockerfile in a fresh virtual environment, list what they "
        "install, and train one segment of MANIFEST in it through the Lambda runtime client.",
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="a plan; its memory sizes and workers are used")
    parser.add_argument("--python", type=Path, help="interpreter for the image's (default: its version, if found)")
    parser.add_argument("--tests", action="store_true", help="also run tests/runtime in the image's version of Python")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    options = parser.parse_args(arguments)
    screen = sys.stderr if options.json else sys.stdout

    def tell(line: str) -> None:
        print(line, file=screen, flush=True)

    try:
        if options.python is not None and not python_version(options.python):
            raise UserInputError(f"{options.python}: is no Python interpreter. Correct --python.")
        manifest = load_manifest(options.manifest)
        source = source_folder(manifest, options.manifest)
        with TemporaryDirectory(prefix="funcpipe-rehearsal-") as folder:
            account = rehearse(manifest, source, options.python, options.tests, Path(folder), tell)
    except FuncpipeError as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserInputError) else 1
    except KeyboardInterrupt:
        print("rehearsal: interrupted", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(account.to_dict(), indent=2))
    else:
        for part in account.parts[:12]:
            tell(f"  {part.size_bytes / 1e6:8.1f} MB  {part.name} {part.version}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
