"""One training plan as a CloudFormation stack. Wiring and grants only; each component is a construct of its own."""

from pathlib import Path

from aws_cdk import CfnOutput, Stack, Tags
from constructs import Construct

from infra.access import neighbours, worker_statements
from infra.artifact_bucket import ArtifactBucket
from infra.bucket_emptier import BucketEmptier
from infra.code_folder import SOURCE_FOLDER
from infra.packaging import Packaging, stage_code
from infra.stage_function import StageFunction
from infra.sync_bucket import SyncBucket
from infra.workflow import Workflow
from runtime.manifest import Manifest

JOB_TAG = "funcpipe:job"


class TrainingStack(Stack):
    """Everything that training ``manifest`` needs, for any account and region.

    Args:
        source: the user's source folder, ``manifest.package.source`` beside the manifest.

    Raises:
        UserInputError: the source is not the one planned for, or the plan breaks a limit of a service.
        FuncpipeError: the requirements could not be installed (zip only).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        manifest: Manifest,
        source: Path,
        packaging: Packaging = Packaging.IMAGE,
    ) -> None:
        tags = {JOB_TAG: manifest.name}
        super().__init__(
            scope,
            construct_id,
            description=f"FuncPipe training of {manifest.name}: {len(manifest.stages)} stages",
            tags=tags,
        )
        for key, value in tags.items():
            Tags.of(self).add(key, value)

        code = stage_code(self, manifest=manifest, source=source, packaging=packaging)
        self.artifacts = ArtifactBucket(self, "Artifacts", on_destroy=manifest.on_destroy)
        stages = range(len(manifest.stages))
        self.inboxes = [SyncBucket(self, f"Inbox{index}") for index in stages]
        BucketEmptier(self, "BucketEmptier", buckets=[self.artifacts, *self.inboxes], tags=tags)

        self.stage_functions = []
        for index, stage in enumerate(manifest.stages):
            beside = neighbours(index, len(stages))
            stage_function = StageFunction(
                self,
                f"Stage{index}",
                index=index,
                stage=stage,
                code=code,
                architecture=manifest.architecture,
                timeout_s=manifest.segment.timeout_s,
                environment={
                    "FUNCPIPE_STAGE": str(index),
                    "FUNCPIPE_SOURCE": SOURCE_FOLDER,
                    "FUNCPIPE_ARTIFACTS_URL": f"s3://{self.artifacts.bucket_name}",
                    "FUNCPIPE_INBOX_URLS": self.to_json_string(
                        {str(other): f"s3://{self.inboxes[other].bucket_name}" for other in sorted([index, *beside])}
                    ),
                },
                access=worker_statements(
                    own_inbox=self.inboxes[index],
                    neighbour_inboxes=[self.inboxes[other] for other in beside],
                    artifacts=self.artifacts,
                ),
            )
            # Deleted before the buckets are emptied, so that no worker can refill them.
            stage_function.function.node.add_dependency(
                self.artifacts, *(self.inboxes[other] for other in [index, *beside])
            )
            self.stage_functions.append(stage_function)

        self.workflow = Workflow(
            self,
            "Workflow",
            manifest=manifest,
            functions=[stage.function for stage in self.stage_functions],
            artifacts=self.artifacts,
        )
        CfnOutput(self, "ArtifactBucket", value=self.artifacts.bucket_name, description="Data, checkpoints, weights")
        CfnOutput(self, "StateMachineArn", value=self.workflow.state_machine.state_machine_arn)
        CfnOutput(self, "ManifestSha256", value=manifest.sha256, description="The deployed plan")
