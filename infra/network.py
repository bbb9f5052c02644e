"""The workers' place in a VPC, for accounts whose functions must not reach the internet by themselves.

Workers need S3 and nothing else (their log, the workflow and X-Ray reach them through Lambda), so private subnets
without a way out suffice when their route tables have a gateway endpoint of S3, for which AWS charges nothing:

    vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)

Without the endpoint all activations pass a NAT gateway, which is paid by the GB, or no worker can start. S3 itself asks
KMS, so SSE-KMS needs no endpoint. The network interfaces are Lambda's own, shared by the functions of one subnet and
group; they take minutes to come and go, so the first deployment and the removal of such a stack last longer.
(docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html, read 2026-11-24)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

_INTERFACE_ACTIONS = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
]
"""What Lambda does by a function's role before the function exists, and only with leave on all resources.
(docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html, "Required IAM permissions", read 2026-11-24)"""


@dataclass(frozen=True)
class Network:
    """Where the workers of a training are."""

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    security_groups: Sequence[ec2.ISecurityGroup]


def network(
    scope: Construct,
    vpc: ec2.IVpc,
    subnets: ec2.SubnetSelection | None,
    security_groups: Sequence[ec2.ISecurityGroup] | None,
) -> Network:
    """The workers' network; without security groups of the caller's one is made that lets HTTPS out and nothing in."""
    if security_groups is None:
        group = ec2.SecurityGroup(
            scope, "SecurityGroup", vpc=vpc, allow_all_outbound=False, description="Workers: HTTPS out, nothing in"
        )
        # Not S3's prefix list, whose id differs by region: the subnets' routes are what keeps workers inside.
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "S3")
        security_groups = [group]
    chosen = subnets or ec2.SubnetSelection(subnets=[*vpc.isolated_subnets, *vpc.private_subnets])
    return Network(vpc, chosen, security_groups)


def interface_statements(scope: Construct) -> list[iam.PolicyStatement]:
    """Leave to make and remove a function's network interfaces: for Lambda, which has only the function's role.

    It is taken from the code that runs in a function, as AWS recommends. Requests of such code, and no others, tell
    which function they come from; here it may be any of the account, since the role is there before its function is.
    """
    functions = Stack.of(scope).format_arn(
        service="lambda", resource="function", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
    )
    return [
        iam.PolicyStatement(actions=_INTERFACE_ACTIONS, resources=["*"]),
        iam.PolicyStatement(
            effect=iam.Effect.DENY,
            actions=_INTERFACE_ACTIONS,
            resources=["*"],
            conditions={"ArnLike": {"lambda:SourceFunctionArn": functions}},
        ),
    ]
