"""Workers in a VPC: where they are, what may reach whom, and who may make network interfaces."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2

from infra.packaging import Packaging
from infra.training import FuncPipeTraining
from runtime.errors import UserInputError
from runtime.manifest import Manifest
from tests.infra.synthesis import Synthesised, listed, synthesise_app, synthesise_training, text

SUBNETS = ["subnet-0000000a", "subnet-0000000b"]


def existing(stack: cdk.Stack) -> ec2.IVpc:
    return ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-0000000a", availability_zones=["a", "b"], private_subnet_ids=SUBNETS
    )


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise_training(tmp_path_factory.mktemp("vpc"), plan={"stages": 3}, vpc=existing)


def roles(stack: Synthesised) -> list[str]:
    return [function["Role"]["Fn::GetAtt"][0] for function in stack.functions]


def test_every_worker_is_in_the_private_subnets_and_lets_nothing_in(inside: Synthesised) -> None:
    (group,) = inside.resources("AWS::EC2::SecurityGroup")
    for function in inside.functions:
        assert function["VpcConfig"]["SubnetIds"] == SUBNETS
        assert function["VpcConfig"]["SecurityGroupIds"] == [{"Fn::GetAtt": [group, "GroupId"]}]
    properties = inside.resources("AWS::EC2::SecurityGroup")[group]
    assert "SecurityGroupIngress" not in properties
    assert not inside.resources("AWS::EC2::SecurityGroupIngress")
    (out,) = properties["SecurityGroupEgress"]
    assert (out["IpProtocol"], out["FromPort"], out["ToPort"]) == ("tcp", 443, 443)


def test_interfaces_are_for_lambda_and_not_for_the_code_in_it(inside: Synthesised) -> None:
    for role in roles(inside):
        (refusal,) = [statement for statement in inside.statements(role) if statement["Effect"] == "Deny"]
        functions = text(refusal["Condition"]["ArnLike"]["lambda:SourceFunctionArn"])
        assert functions == "arn:AWS::Partition:lambda:AWS::Region:AWS::AccountId:function:*"
        granted = [
            statement
            for statement in inside.statements(role)
            if statement["Effect"] == "Allow" and "*" in listed(statement["Resource"])
        ]
        (interfaces,) = granted
        assert all(action.startswith("ec2:") and "*" not in action for action in interfaces["Action"])
        assert refusal["Action"] == interfaces["Action"], "what Lambda may, the code may not"
        for action in interfaces["Action"]:
            assert inside.allows(role, action, "*", from_code=False) and not inside.allows(role, action, "*")


def test_the_callers_subnets_and_groups_are_used(tmp_path: Path) -> None:
    stack = synthesise_training(
        tmp_path,
        plan={"stages": 1},
        vpc=existing,
        vpc_subnets=lambda stack: ec2.SubnetSelection(
            subnets=[ec2.Subnet.from_subnet_id(stack, "Subnet", "subnet-0000000c")]
        ),
        security_groups=lambda stack: [ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-0000000a")],
    )
    (function,) = stack.functions
    assert function["VpcConfig"] == {"SecurityGroupIds": ["sg-0000000a"], "SubnetIds": ["subnet-0000000c"]}
    assert not stack.resources("AWS::EC2::SecurityGroup")


def test_isolated_subnets_of_the_same_app_do(tmp_path: Path) -> None:
    """No way to the internet, and S3 by its endpoint."""

    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        stack = cdk.Stack(app, "stack")
        isolated = ec2.SubnetConfiguration(name="workers", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        vpc = ec2.Vpc(stack, "Vpc", max_azs=2, nat_gateways=0, subnet_configuration=[isolated])
        vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        FuncPipeTraining(stack, "Training", manifest=manifest, source=source, packaging=Packaging.ZIP, vpc=vpc)

    stack = synthesise_app(tmp_path, build, stages=2)
    subnets = set(stack.resources("AWS::EC2::Subnet"))
    for function in stack.functions:
        assert {subnet["Ref"] for subnet in function["VpcConfig"]["SubnetIds"]} == subnets


@pytest.mark.parametrize("given", ["vpc_subnets", "security_groups"])
def test_a_place_in_no_vpc_is_refused(tmp_path: Path, given: str) -> None:
    properties: dict[str, Any] = {given: ec2.SubnetSelection() if given == "vpc_subnets" else []}
    with pytest.raises(UserInputError, match="give vpc, too"):
        synthesise_training(tmp_path, plan={"stages": 1}, **properties)
