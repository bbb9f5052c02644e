"""The folder that the workers' image is built from: the Dockerfile and everything that it copies, nothing else.

The CDK CLI builds it at deploy time; ``rehearsal`` carries out the same steps where there is no Docker.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.code_folder import RUNTIME_REQUIREMENTS, write_code

DOCKERFILE = Path(__file__).resolve().parent / "image" / "Dockerfile"
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"


def write_image_context(folder: Path, requirements: Sequence[str], source: Path) -> None:
    """Fills ``folder``. Of a plan nothing enters but the model's requirements, so that another changes no layer.

    Args:
        requirements: ``manifest.package.requirements``.
        source: the user's source folder, ``manifest.package.source`` beside the manifest.
    """
    write_code(folder, source)
    shutil.copyfile(DOCKERFILE, folder / "Dockerfile")
    shutil.copyfile(RUNTIME_REQUIREMENTS, folder / "runtime-requirements.txt")
    shutil.copyfile(CONSTRAINTS, folder / "constraints.txt")
    runtime = RUNTIME_REQUIREMENTS.read_text().splitlines()
    _write(folder / "torch-requirements.txt", [line for line in runtime if line.startswith("torch==")])
    _write(folder / "model-requirements.txt", sorted(requirements))


def _write(path: Path, requirements: list[str]) -> None:
    path.write_text("".join(f"{requirement}\n" for requirement in requirements))
