"""The workers' code as one asset for all functions: a zip (code only) or a container image (with torch)."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.code_folder import RUNTIME_REQUIREMENTS, check_size, install_requirements, write_code
from runtime.manifest import Architecture, Manifest
from runtime.source import check_source

HANDLER = "runtime.handler.handler"
_DOCKERFILE = Path(__file__).resolve().parent / "image" / "Dockerfile"
_PLATFORMS = {
    Architecture.X86_64: ecr_assets.Platform.LINUX_AMD64,
    Architecture.ARM64: ecr_assets.Platform.LINUX_ARM64,
}


class Packaging(StrEnum):
    """How the workers' code travels."""

    ZIP = "zip"
    """Without torch, which exceeds a zip's 250 MB: for the embedded AWS, whose Python has it."""
    IMAGE = "image"
    """With everything: for AWS. Built by Docker at deploy time, not at synthesis."""


@dataclass(frozen=True)
class StageCode:
    """What a ``lambda_.Function`` is told about its code."""

    code: lambda_.Code
    handler: str
    runtime: lambda_.Runtime


def stage_code(scope: Construct, *, manifest: Manifest, source: Path, packaging: Packaging) -> StageCode:
    """The asset, staged below ``scope``.

    Args:
        source: the user's source folder (``manifest.package.source`` beside the manifest).

    Raises:
        UserInputError: ``source`` is missing or not the one planned for, or too large for a zip.
        FuncpipeError: the requirements could not be installed (zip only).
    """
    check_source(source, manifest.hashes.source)
    # CDK copies an asset when its construct is made, so the folder need not live longer.
    with TemporaryDirectory(prefix="funcpipe-") as temporary:
        make = _zip if packaging is Packaging.ZIP else _image
        return make(scope, manifest, source, Path(temporary))


def _zip(scope: Construct, manifest: Manifest, source: Path, folder: Path) -> StageCode:
    requirements = sorted(manifest.package.requirements)
    if requirements:
        install_requirements(requirements, folder)
    code_sha256 = write_code(folder, source)
    check_size(folder)
    # Hashed by what goes in rather than by what pip made of it, so that it is the same on every machine.
    asset_hash = hashlib.sha256(json.dumps([code_sha256, requirements]).encode()).hexdigest()
    code = lambda_.Code.from_asset(str(folder), asset_hash=asset_hash)
    code.bind(scope)  # Copies the folder now; the functions' own calls find it done.
    # The embedded AWS runs functions on the project's own Python, of which 3.11 is the oldest.
    return StageCode(code, HANDLER, lambda_.Runtime.PYTHON_3_11)


def _image(scope: Construct, manifest: Manifest, source: Path, folder: Path) -> StageCode:
    write_code(folder, source)
    shutil.copyfile(_DOCKERFILE, folder / "Dockerfile")
    shutil.copyfile(RUNTIME_REQUIREMENTS, folder / "runtime-requirements.txt")
    lines = [f"{requirement}\n" for requirement in sorted(manifest.package.requirements)]
    (folder / "model-requirements.txt").write_text("".join(lines))
    # Lambda refuses images with attestations; the CDK CLI builds with BUILDX_NO_DEFAULT_ATTESTATIONS=1.
    image = ecr_assets.DockerImageAsset(
        scope, "Image", directory=str(folder), platform=_PLATFORMS[manifest.architecture]
    )
    return StageCode(
        lambda_.Code.from_ecr_image(image.repository, tag_or_digest=image.image_tag),
        lambda_.Handler.FROM_IMAGE,
        lambda_.Runtime.FROM_IMAGE,
    )
