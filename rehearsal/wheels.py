"""Whether everything in the image can be had as a wheel for its Python, on both architectures.

The base image has no compiler (github.com/aws/aws-lambda-base-images/issues/228, read 2026-11-24), so what is a source
distribution for one of them would end the build there. torch is left out: it comes from PyTorch's index, in a step of
its own.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from rehearsal.build import Part
from runtime.errors import FuncpipeError
from runtime.manifest import Architecture

_MACHINES = {Architecture.X86_64: "x86_64", Architecture.ARM64: "aarch64"}
_GLIBC = range(17, 35)
"""Minor versions of glibc 2 whose wheels fit: the base image has 2.34 (github.com/amazonlinux/amazon-linux-2023/
issues/585, read 2026-11-24); manylinux_2_17 is the oldest in use."""


def check_wheels(parts: Iterable[Part], python: Path, image_python: str, architecture: Architecture) -> int:
    """Asks pip's index for each distribution's wheel. Returns how many there are.

    Args:
        python: whose pip asks.
        image_python: version of the base image's Python, e.g. "3.12".

    Raises:
        FuncpipeError: one has no wheel that fits; pip's last lines are in the message.
    """
    pinned = [f"{part.name}=={part.version}" for part in parts if part.version and part.name != "torch"]
    machine, abi = _MACHINES[architecture], f"cp{image_python.replace('.', '')}"
    tags = [f"manylinux_2_{minor}_{machine}" for minor in reversed(_GLIBC)] + [f"manylinux2014_{machine}"]
    with TemporaryDirectory(prefix="funcpipe-wheels-") as nowhere:
        command = [str(python), "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
        command += ["--only-binary", ":all:", "--target", nowhere, "--python-version", image_python]
        command += ["--implementation", "cp", "--abi", abi, "--abi", "abi3", "--abi", "none"]
        command += [word for tag in tags for word in ("--platform", tag)]
        done = subprocess.run(
            [*command, *pinned],
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(f"  | {line}" for line in done.stderr.strip().splitlines()[-4:])
        raise FuncpipeError(
            f"no wheel for Python {image_python} on {architecture.value}, and the base image has no compiler:\n{tail}"
        )
    return len(pinned)
