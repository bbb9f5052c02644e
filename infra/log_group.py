"""Functions' log group: retention, deleted with the stack, and leave to write to it and nothing else.

All stages of a training share one: its streams name function and version
(docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html, read 2026-11-26), one query finds what
happened to a gang, and a group per stage would count against CloudFormation's 500 resources.
"""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct


class FunctionLogGroup(logs.LogGroup):
    """Given to functions at their creation, since Lambda would otherwise make log groups that never expire."""

    def __init__(self, scope: Construct, construct_id: str, *, retention: logs.RetentionDays) -> None:
        super().__init__(scope, construct_id, retention=retention, removal_policy=RemovalPolicy.DESTROY)

    @property
    def write_statement(self) -> iam.PolicyStatement:
        """Leave to write to this group's streams, whose names Lambda makes up; not to create groups."""
        # The ARN ends in ":*", which stands for the group's streams.
        return iam.PolicyStatement(
            actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[self.log_group_arn]
        )
