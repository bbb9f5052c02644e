"""The workers' code, one for all functions: a zip (code only), an image to be built (with torch), or one at hand."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from aws_cdk import Stack, Token
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.code_folder import check_size, install_requirements, write_code
from infra.image_context import write_image_context
from runtime.errors import UserInputError
from runtime.manifest import Architecture, Manifest
from runtime.source import check_source

HANDLER = "runtime.handler.handler"
_IMAGE_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z]{2}(-[a-z]+)+-\d)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[a-z0-9]+([._/-][a-z0-9]+)*)@(?P<digest>sha256:[0-9a-f]{64})"
)
"""Of an image in a private ECR repository, which is what Lambda takes (API_CreateFunction, FunctionCode.ImageUri; names
of repositories: API_CreateRepository; both read 2026-11-24)."""
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
class PrebuiltImage:
    """An image that exists in an ECR repository of the stack's region, named by what is in it, not by a tag that moves.

    It must hold ``runtime/`` and the planned source as ``source/`` in its LAMBDA_TASK_ROOT, as one built from
    ``infra.image_context`` does, and be of the manifest's architecture: neither can be seen at synthesis.
    """

    account: str
    region: str
    repository: str
    digest: str

    @classmethod
    def parse(cls, uri: str) -> "PrebuiltImage":
        """From ``ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY@sha256:DIGEST``.

        Raises:
            UserInputError: it is not of that form; a tag instead of a digest, for instance.
        """
        if (match := _IMAGE_URI.fullmatch(uri)) is None:
            raise UserInputError(
                "an image is named by its digest, ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY@sha256:64-HEX-DIGITS "
                f"(given: {uri!r}). `aws ecr describe-images --repository-name REPOSITORY` lists digests."
            )
        return cls(**{name: match[name] for name in ("account", "region", "repository", "digest")})


@dataclass(frozen=True)
class StageCode:
    """What a ``lambda_.Function`` is told about its code."""

    code: lambda_.Code
    handler: str
    runtime: lambda_.Runtime


def stage_code(
    scope: Construct, *, manifest: Manifest, source: Path, packaging: Packaging | PrebuiltImage
) -> StageCode:
    """The code, staged below ``scope`` where it is an asset.

    Args:
        source: the user's source folder (``manifest.package.source`` beside the manifest).

    Raises:
        UserInputError: ``source`` is missing or not the one planned for, or too large for a zip; an image is in another
            region than the stack, where that is known.
        FuncpipeError: the requirements could not be installed (zip only).
    """
    check_source(source, manifest.hashes.source)
    if isinstance(packaging, PrebuiltImage):
        return _prebuilt(scope, packaging)
    return code_asset(
        scope,
        source=source,
        requirements=manifest.package.requirements,
        architecture=manifest.architecture,
        packaging=packaging,
    )


def code_asset(
    scope: Construct,
    *,
    source: Path,
    requirements: Sequence[str],
    architecture: Architecture,
    packaging: Packaging,
    handler: str = HANDLER,
) -> StageCode:
    """The runtime and the user's ``source`` as an asset staged below ``scope``.

    Args:
        requirements: the model's.
        handler: module and function that Lambda calls.

    Raises:
        UserInputError: it is too large for a zip.
        FuncpipeError: the requirements could not be installed (zip only).
    """
    # CDK copies an asset when its construct is made, so the folder need not live longer.
    with TemporaryDirectory(prefix="funcpipe-") as temporary:
        if packaging is Packaging.ZIP:
            return _zip(scope, sorted(requirements), source, Path(temporary), handler)
        return _image(scope, requirements, architecture, source, Path(temporary), handler)


def _zip(scope: Construct, requirements: list[str], source: Path, folder: Path, handler: str) -> StageCode:
    if requirements:
        install_requirements(requirements, folder)
    code_sha256 = write_code(folder, source)
    check_size(folder)
    # Hashed by what goes in rather than by what pip made of it, so that it is the same on every machine.
    asset_hash = hashlib.sha256(json.dumps([code_sha256, requirements]).encode()).hexdigest()
    code = lambda_.Code.from_asset(str(folder), asset_hash=asset_hash)
    code.bind(scope)  # Copies the folder now; the functions' own calls find it done.
    # The embedded AWS runs functions on the project's own Python, of which 3.11 is the oldest.
    return StageCode(code, handler, lambda_.Runtime.PYTHON_3_11)


def _image(
    scope: Construct, requirements: Sequence[str], architecture: Architecture, source: Path, folder: Path, handler: str
) -> StageCode:
    write_image_context(folder, requirements, source)
    # Lambda refuses images with attestations; the CDK CLI builds with BUILDX_NO_DEFAULT_ATTESTATIONS=1.
    image = ecr_assets.DockerImageAsset(scope, "Image", directory=str(folder), platform=_PLATFORMS[architecture])
    command = None if handler == HANDLER else [handler]
    return StageCode(
        lambda_.Code.from_ecr_image(image.repository, tag_or_digest=image.image_tag, cmd=command),
        lambda_.Handler.FROM_IMAGE,
        lambda_.Runtime.FROM_IMAGE,
    )


def _prebuilt(scope: Construct, image: PrebuiltImage) -> StageCode:
    stack = Stack.of(scope)
    if not Token.is_unresolved(stack.region) and stack.region != image.region:
        raise UserInputError(
            f"Lambda takes an image of its own region only (image: {image.region}, stack: {stack.region}). Name one in "
            f"a repository of {stack.region}."
        )
    # With the account given: Lambda takes an image of another account, whose owner must allow it.
    arn = stack.format_arn(
        service="ecr", account=image.account, region=image.region, resource="repository", resource_name=image.repository
    )
    repository = ecr.Repository.from_repository_attributes(
        scope, "Image", repository_arn=arn, repository_name=image.repository
    )
    return StageCode(
        # The command by name, for the image may have another of its own.
        lambda_.Code.from_ecr_image(repository, tag_or_digest=image.digest, cmd=[HANDLER]),
        lambda_.Handler.FROM_IMAGE,
        lambda_.Runtime.FROM_IMAGE,
    )
