"""A stage's inbox: activations, gradients and splits on their way to it."""

from aws_cdk import Duration
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.acknowledgements import acknowledge_inbox
from infra.private_bucket import PrivateBucket


class SyncBucket(PrivateBucket):
    """Consumers delete what they have read; the lifecycle rule removes what a failed gang left behind after a day."""

    def __init__(self, scope: Construct, construct_id: str, *, encryption_key: kms.IKey | None = None) -> None:
        super().__init__(
            scope,
            construct_id,
            delete_with_stack=True,
            encryption_key=encryption_key,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(1))],
        )
        acknowledge_inbox(self)
