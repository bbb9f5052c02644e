"""Makes CDK's bucket-emptying custom resource fit: exact actions, a log group of its own, tags, a boundary.

As CDK generates it, its role and the buckets' policies allow wildcard actions, and Lambda creates a log group for it
that outlives the stack. Its handler, which empties a bucket before CloudFormation deletes it, stays as it is.
A stack has one, which all its trainings share.
"""

from collections.abc import Mapping

from aws_cdk import CfnResource, Stack, Tags
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.log_group import FunctionLogGroup

PROVIDER = "Custom::S3AutoDeleteObjectsCustomResourceProvider"
_LOGS = "BucketEmptierLogs"
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


def fit_bucket_emptier(
    scope: Construct,
    *,
    tags: Mapping[str, str],
    log_retention: logs.RetentionDays,
    permissions_boundary: iam.IManagedPolicy | None,
) -> None:
    """To be called when buckets are made, of which the stack of ``scope`` may have none that is to be emptied.

    A stack keeps what is given first.
    """
    stack = Stack.of(scope)
    provider = stack.node.try_find_child(PROVIDER)
    if provider is None or stack.node.try_find_child(_LOGS) is not None:
        return
    log_group = FunctionLogGroup(stack, _LOGS, retention=log_retention)
    role, handler = provider.node.find_child("Role"), provider.node.find_child("Handler")
    assert isinstance(role, CfnResource) and isinstance(handler, CfnResource)

    policy = iam.PolicyDocument(statements=[log_group.write_statement])
    role.add_property_override("ManagedPolicyArns", [])
    role.add_property_override("Policies", [{"PolicyName": "WriteLogs", "PolicyDocument": policy.to_json()}])
    if permissions_boundary is not None:
        role.add_property_override("PermissionsBoundary", permissions_boundary.managed_policy_arn)
    handler.add_property_override("LoggingConfig", {"LogGroup": log_group.log_group_name})
    for key, value in tags.items():
        Tags.of(log_group).add(key, value)
    for resource in (role, handler):
        # They are of a class that cdk.Tags does not reach.
        resource.add_property_override("Tags", [{"Key": key, "Value": value} for key, value in tags.items()])


def narrow_bucket_policy(bucket: s3.Bucket) -> None:
    """Replaces the wildcard actions that the bucket's policy allows to the custom resource, if it does."""
    assert bucket.policy is not None, "a private bucket demands TLS, so it has a policy"
    statements = Stack.of(bucket).resolve(bucket.policy.document)["Statement"]
    resource = bucket.policy.node.default_child
    assert isinstance(resource, CfnResource)
    for index, statement in enumerate(statements):
        if _GENERATED_ACTION in statement["Action"]:
            resource.add_property_override(f"PolicyDocument.Statement.{index}.Action", _ACTIONS)
