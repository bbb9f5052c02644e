"""What every bucket of the kit has: no public access, encryption, TLS only, no forgotten parts of multipart uploads."""

from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

_PARTS_KEPT = Duration.days(1)
"""Lifecycle rules count whole days, at least 1."""


class PrivateBucket(s3.Bucket):
    """An encrypted bucket for the stack's own functions.

    Args:
        delete_with_stack: ``cdk destroy`` empties and deletes the bucket; otherwise both bucket and objects stay.
        encryption_key: for SSE-KMS; SSE-S3 if None.
        versioned: objects that are overwritten or deleted stay as noncurrent versions.
        lifecycle_rules: in addition to the rule that ends multipart uploads left unfinished.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        delete_with_stack: bool,
        encryption_key: kms.IKey | None = None,
        versioned: bool = False,
        lifecycle_rules: Sequence[s3.LifecycleRule] = (),
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=encryption_key,
            # One request to KMS serves many objects: without it, each object costs one more request (USD 3e-6).
            bucket_key_enabled=True if encryption_key else None,
            enforce_ssl=True,
            versioned=versioned,
            lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=_PARTS_KEPT), *lifecycle_rules],
            removal_policy=RemovalPolicy.DESTROY if delete_with_stack else RemovalPolicy.RETAIN,
            auto_delete_objects=delete_with_stack,
        )
