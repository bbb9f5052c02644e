"""The CDK app: the manifest named in the CDK context becomes a TrainingStack.

cdk synth|diff|deploy|destroy -c manifest=PATH [-c packaging=image|zip | -c image=URI@sha256:DIGEST]
    [-c stack=NAME] [-c nag=on] [-c KEY=VALUE ...: docs/infra.md]
"""

import re
import sys
from pathlib import Path

try:
    import aws_cdk as cdk
except ModuleNotFoundError:
    sys.exit(f"{sys.executable} has no aws-cdk-lib. Activate this project's environment: `. .venv/bin/activate`.")

from infra.context import read_options
from infra.packaging import Packaging, PrebuiltImage
from infra.training_stack import TrainingStack
from runtime.errors import FuncpipeError, UserInputError
from runtime.manifest import load_manifest

_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
"""CloudFormation's rule (API_CreateStack, read 2026-11-21)."""


def build(app: cdk.App) -> TrainingStack:
    """The stack that the app's context asks for. Raises UserInputError, and what TrainingStack raises."""
    path = app.node.try_get_context("manifest")
    if not path:
        raise UserInputError("no manifest named. Add -c manifest=PATH; `funcpipe plan` writes one.")
    if not isinstance(path, str) or "\0" in path:
        raise UserInputError(f"manifest must be a path (given: {path!r:.120}). Correct -c manifest.")
    packaging = _packaging(app)
    manifest = load_manifest(Path(path))
    name = app.node.try_get_context("stack") or f"funcpipe-{manifest.name}"
    if not isinstance(name, str) or not _STACK_NAME.fullmatch(name):
        raise UserInputError(
            f"a stack's name is a letter, then up to 127 letters, digits and hyphens (given: {name!r:.160}). "
            "Correct -c stack."
        )
    nag = app.node.try_get_context("nag")
    if nag not in (None, "on", "off"):
        raise UserInputError(f"nag must be on or off (given: {nag!r}). Correct -c nag.")
    if nag == "on":
        _nag(app)
    source = Path(path).parent / manifest.package.source
    return TrainingStack(
        app, name, manifest=manifest, source=source, packaging=packaging, options=read_options(app.node)
    )


def _packaging(app: cdk.App) -> Packaging | PrebuiltImage:
    packaging, image = app.node.try_get_context("packaging"), app.node.try_get_context("image")
    if image and packaging:
        raise UserInputError("-c image names an image that exists; leave -c packaging out.")
    if image:
        return PrebuiltImage.parse(str(image))
    if packaging not in (None, *(choice.value for choice in Packaging)):
        raise UserInputError(f"packaging must be image or zip (given: {packaging!r}). Correct -c packaging.")
    return Packaging(packaging) if packaging else Packaging.IMAGE


def _nag(app: cdk.App) -> None:
    """Has cdk-nag's AwsSolutions pack look at the stack: a finding that is not acknowledged fails the synthesis."""
    try:
        from cdk_nag import AwsSolutionsChecks
    except ImportError:
        raise UserInputError("-c nag=on needs cdk-nag: pip install -r requirements-dev.txt") from None
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))


def main() -> int:
    app = cdk.App()
    try:
        build(app)
    except FuncpipeError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserInputError) else 1
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
