"""What outlives a gang of workers: data shards, checkpoints, records, trained weights."""

from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.acknowledgements import acknowledge_artifacts
from infra.private_bucket import PrivateBucket


class ArtifactBucket(PrivateBucket):
    """Not versioned: every key carries run, segment and attempt, so only progress records are ever overwritten."""

    def __init__(
        self, scope: Construct, construct_id: str, *, delete_with_stack: bool, encryption_key: kms.IKey | None = None
    ) -> None:
        super().__init__(scope, construct_id, delete_with_stack=delete_with_stack, encryption_key=encryption_key)
        acknowledge_artifacts(self)
