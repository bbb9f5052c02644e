"""Preflight on this machine: the versions of what plans, deploys and builds. Imports none of it."""

import json
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from launch.preflight import Check, failed, passed, skipped

HOME = Path(__file__).resolve().parent.parent
"""The kit's folder, where its pins are."""
_OLDEST_PYTHON = (3, 11)
_PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")
_ANSWER_S = 10.0
"""Longer than any of the commands takes to tell its version, and short enough to wait for."""
_SET_UP = "`make setup` in the kit's folder installs it; then activate .venv."


def machine_checks(*, docker: bool, home: Path = HOME) -> list[Check]:
    """Args: docker: an image is to be built here; home: folder with requirements.txt and package.json."""
    return [_python(), _packages(home), _node(home), _cdk(home), _docker() if docker else _no_docker()]


def _python() -> Check:
    found = platform.python_version()
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    if tuple(map(int, platform.python_version_tuple()[:2])) < _OLDEST_PYTHON:
        return failed("Python", f"{found}, needed: {oldest} or newer", f"make PYTHON=python{oldest} setup")
    return passed("Python", found)


def pins(home: Path) -> Iterator[tuple[str, str]]:
    """Distributions that the kit needs, with the versions that it is tested with."""
    for file in ("requirements.txt", "runtime/requirements.txt"):
        for line in (home / file).read_text().splitlines():
            if match := _PIN.fullmatch(line.strip()):
                yield match[1], match[2]


def _packages(home: Path) -> Check:
    wrong, right = [], []
    for name, pinned in pins(home):
        try:
            found = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing (pinned: {pinned})")
            continue
        # A build of the same version, such as torch's +cpu, is the version that was asked for.
        if found.split("+")[0] == pinned:
            right.append(f"{name} {found}")
        else:
            wrong.append(f"{name} {found} (pinned: {pinned})")
    return (
        failed("Python packages", "; ".join(wrong), _SET_UP) if wrong else passed("Python packages", ", ".join(right))
    )


def _node(home: Path) -> Check:
    oldest = int(re.sub(r"\D", "", json.loads((home / "package.json").read_text())["engines"]["node"]))
    remedy = f"Install Node.js {oldest} or newer with npm."
    said, why = _ask("node", "--version")
    if said is None:
        return failed("Node.js", why, remedy)
    major = re.match(r"v(\d+)\.", said)
    if major is None or int(major[1]) < oldest:
        return failed("Node.js", f"{said}, needed: {oldest} or newer", remedy)
    return passed("Node.js", said)


def _cdk(home: Path) -> Check:
    pinned = json.loads((home / "package.json").read_text())["dependencies"]["aws-cdk"]
    package = home / "node_modules" / "aws-cdk" / "package.json"
    if not package.exists():
        return failed("CDK command", f"not in {home / 'node_modules'} (pinned: {pinned})", _SET_UP)
    found = str(json.loads(package.read_text())["version"])
    if found != pinned:
        return failed("CDK command", f"{found} (pinned: {pinned})", _SET_UP)
    return passed("CDK command", f"aws-cdk {found}")


def _docker() -> Check:
    remedy = "Start Docker, or deploy an image that exists: -c image=URI@sha256:DIGEST (docs/image.md)."
    said, why = _ask("docker", "version", "--format", "{{.Server.Version}}")
    return failed("Docker", why, remedy) if said is None else passed("Docker", f"engine {said}")


def _no_docker() -> Check:
    return skipped("Docker", "no image is built with this packaging")


def _ask(*command: str) -> tuple[str | None, str]:
    """What a command prints, or None and why it printed nothing."""
    program = shutil.which(command[0])
    if program is None:
        return None, f"no {command[0]} on PATH"
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{command[0]} does not answer: {error}"
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    if done.returncode or not lines:
        return None, f"{command[0]}: exit status {done.returncode}: {lines[-1] if lines else 'nothing printed'}"
    return lines[-1], ""
