"""A stack of one training, with the outputs by which the ``funcpipe`` command finds it."""

from pathlib import Path

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.context import Options
from infra.packaging import Packaging, PrebuiltImage
from infra.training import JOB_TAG, FuncPipeTraining
from runtime.manifest import Manifest

DELETE_ARTIFACTS = (
    "python3 -c \"import boto3; bucket = boto3.resource('s3').Bucket('{}'); "
    'bucket.object_versions.delete(); bucket.delete()"'
)
"""Of a bucket's name. (`aws s3 rb --force` leaves the versions, and so the bucket.)"""
_DEFAULTS = Options()


class TrainingStack(Stack):
    """``FuncPipeTraining`` and nothing else.

    Args:
        source: the user's source folder, ``manifest.package.source`` beside the manifest.

    Raises:
        UserInputError, FuncpipeError: as FuncPipeTraining.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        manifest: Manifest,
        source: Path,
        packaging: Packaging | PrebuiltImage = Packaging.IMAGE,
        options: Options = _DEFAULTS,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"FuncPipe training of {manifest.name}: {len(manifest.stages)} stages",
            tags={JOB_TAG: manifest.name},
        )
        self.training = FuncPipeTraining(
            self, "Training", manifest=manifest, source=source, packaging=packaging, **options.properties(self)
        )
        machine = self.training.workflow.state_machine
        CfnOutput(
            self, "ArtifactBucket", value=self.training.artifacts.bucket_name, description="Data, checkpoints, weights"
        )
        deletion = DELETE_ARTIFACTS.format(self.training.artifacts.bucket_name)
        CfnOutput(
            self,
            "AfterDestroy",
            value=f"s3://{self.training.artifacts.bucket_name} stays. When it is no longer needed: {deletion}"
            if self.training.artifacts_stay
            else "nothing stays",
            description="What `cdk destroy` leaves",
        )
        CfnOutput(self, "StateMachineArn", value=machine.state_machine_arn)
        CfnOutput(self, "ManifestSha256", value=manifest.sha256, description="The deployed plan")
