"""The workers' code as a folder: the runtime, the user's source, and for a zip the requirements.

Nothing of the plan is in it: workers read the manifest from the artifact bucket. So the same code makes the same
folder whatever the plan, and `cdk diff` after a change of plan shows memory and replicas, not code.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime.errors import FuncpipeError, UserInputError
from runtime.limits import LAMBDA_CODE_BYTES
from runtime.source import source_files, source_sha256

RUNTIME = Path(__file__).resolve().parent.parent / "runtime"
RUNTIME_REQUIREMENTS = RUNTIME / "requirements.txt"
SOURCE_FOLDER = "source"
"""Name of the user's source in the folder: the workers' FUNCPIPE_SOURCE."""


def write_code(folder: Path, source: Path) -> str:
    """Copies the runtime's modules and the user's source into ``folder``. Returns the SHA-256 of what was copied."""
    _copy(RUNTIME, sorted(path.relative_to(RUNTIME) for path in RUNTIME.rglob("*.py")), folder / "runtime")
    _copy(source, source_files(source), folder / SOURCE_FOLDER)
    parts = [source_sha256(folder / "runtime"), source_sha256(folder / SOURCE_FOLDER)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def install_requirements(requirements: Sequence[str], folder: Path) -> None:
    """Installs ``requirements`` into ``folder``, and of what they need only what this Python does not have.

    The embedded AWS runs functions on this very Python, so that its torch is neither downloaded nor copied.

    Raises:
        FuncpipeError: pip failed; its last lines are in the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "pip-report.json"
    _pip(["install", "--dry-run", "--report", str(report), *requirements], requirements)
    resolved = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    report.unlink()
    named = {_normalised(re.split(r"\[|==", requirement)[0]) for requirement in requirements}
    missing = sorted(
        f"{package['name']}=={package['version']}" for package in resolved if _normalised(package["name"]) not in named
    )
    _pip(
        ["install", "--no-deps", "--no-compile", "--upgrade", "--target", str(folder), *requirements, *missing],
        requirements,
    )


def check_size(folder: Path) -> None:
    """Refuses a folder that Lambda would not take as a zip.

    Raises:
        UserInputError: it is larger than Lambda's limit.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LAMBDA_CODE_BYTES:
        raise UserInputError(
            f"the workers' code is too large for a zip (unpacked: {size / 2**20:.0f} MiB, "
            f"Lambda's limit: {LAMBDA_CODE_BYTES / 2**20:.0f} MiB). Ship it as an image: -c packaging=image, "
            "or take large files out of the source folder."
        )


def _copy(origin: Path, files: Iterable[Path], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin / file, copy)
        copy.chmod(0o644)  # Lambda's user is another than the owner, whatever the umask here.


def _normalised(name: str) -> str:
    """A distribution's name as pip compares it (packaging.python.org, PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip(arguments: Sequence[str], requirements: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-10:])
        raise FuncpipeError(
            f"pip could not install the model's requirements ({', '.join(requirements)}):\n{tail}\n"
            "Correct package.requirements in the job and plan again."
        )
