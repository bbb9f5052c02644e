"""Makes CDK's bucket-emptying custom resource fit this stack: exact actions, a log group of its own, tags.

As CDK generates it, its role and the buckets' policies allow wildcard actions, and Lambda creates a log group for it
that outlives the stack. Its handler, which empties a bucket before CloudFormation deletes it, stays as it is.
"""

from collections.abc import Iterable, Mapping

from aws_cdk import CfnResource, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.log_group import FunctionLogGroup

_PROVIDER = "Custom::S3AutoDeleteObjectsCustomResourceProvider"
_GENERATED_ACTION = "s3:DeleteObject*"
_ACTIONS = [
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetBucketPolicy",
    "s3:GetBucketTagging",
    "s3:ListBucketVersions",
    "s3:PutBucketPolicy",
]
"""What the handler of aws-cdk-lib 2.275.0 calls: it denies further PUTs, then lists and deletes."""


class BucketEmptier(Construct):
    """To be created after ``buckets``, all of them in the stack of ``scope`` and at least one deleted with it."""

    def __init__(
        self, scope: Construct, construct_id: str, *, buckets: Iterable[s3.Bucket], tags: Mapping[str, str]
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = FunctionLogGroup(self, "Logs")
        provider = Stack.of(self).node.find_child(_PROVIDER)
        role, handler = provider.node.find_child("Role"), provider.node.find_child("Handler")
        assert isinstance(role, CfnResource) and isinstance(handler, CfnResource)

        policy = iam.PolicyDocument(statements=[self.log_group.write_statement])
        role.add_property_override("ManagedPolicyArns", [])
        role.add_property_override("Policies", [{"PolicyName": "WriteLogs", "PolicyDocument": policy.to_json()}])
        handler.add_property_override("LoggingConfig", {"LogGroup": self.log_group.log_group_name})
        for resource in (role, handler):
            # They are of a class that cdk.Tags does not reach.
            resource.add_property_override("Tags", [{"Key": key, "Value": value} for key, value in tags.items()])
        for bucket in buckets:
            self._narrow(bucket)

    def _narrow(self, bucket: s3.Bucket) -> None:
        """Replaces the wildcard actions that the bucket's policy allows to the custom resource."""
        assert bucket.policy is not None, "a private bucket demands TLS, so it has a policy"
        statements = Stack.of(self).resolve(bucket.policy.document)["Statement"]
        resource = bucket.policy.node.default_child
        assert isinstance(resource, CfnResource)
        for index, statement in enumerate(statements):
            if _GENERATED_ACTION in statement["Action"]:
                resource.add_property_override(f"PolicyDocument.Statement.{index}.Action", _ACTIONS)
