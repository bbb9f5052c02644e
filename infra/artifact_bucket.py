"""What outlives a gang of workers: data shards, checkpoints, records, trained weights."""

from aws_cdk import Duration
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.acknowledgements import acknowledge_artifacts
from infra.private_bucket import PrivateBucket
from runtime.closing import DELETED_KEPT_S


class ArtifactBucket(PrivateBucket):
    """Versioned, so that a mistake can be undone.

    What a training itself overwrites are progress records of some hundred bytes; the checkpoints that it deletes cost
    three more days of storage.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, delete_with_stack: bool, encryption_key: kms.IKey | None = None
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            delete_with_stack=delete_with_stack,
            encryption_key=encryption_key,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    noncurrent_version_expiration=Duration.seconds(DELETED_KEPT_S), expired_object_delete_marker=True
                ),
            ],
        )
        acknowledge_artifacts(self)
