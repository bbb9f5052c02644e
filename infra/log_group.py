"""A function's log group: retention, deleted with the stack, and leave to write to it and nothing else."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct


class FunctionLogGroup(logs.LogGroup):
    """Given to a function at its creation, since Lambda would otherwise make a log group that never expires."""

    def __init__(self, scope: Construct, construct_id: str, *, retention: logs.RetentionDays) -> None:
        super().__init__(scope, construct_id, retention=retention, removal_policy=RemovalPolicy.DESTROY)

    @property
    def write_statement(self) -> iam.PolicyStatement:
        """Leave to write to this group's streams, whose names Lambda makes up; not to create groups."""
        # The ARN ends in ":*", which stands for the group's streams.
        return iam.PolicyStatement(
            actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[self.log_group_arn]
        )
