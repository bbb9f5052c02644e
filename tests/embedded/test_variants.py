"""Two jobs in one account: one with a key, a bucket and a network that were there before, one of an image."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from cli.main import main
from tests.conftest import RunningEmulator
from tests.embedded.project import EVERYTHING, Project

IMAGE = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/workers@sha256:{'8a' * 32}"


def network(emulator: RunningEmulator) -> tuple[str, list[str]]:
    """A VPC with two subnets: their ids."""
    ec2 = emulator.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    blocks = ("10.7.0.0/24", "10.7.1.0/24")
    return vpc, [ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"] for block in blocks]


def groups(emulator: RunningEmulator, vpc: str) -> list[str]:
    """The VPC's security groups besides its own."""
    found = emulator.client("ec2").describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    return [group["GroupId"] for group in found["SecurityGroups"] if group["GroupName"] != "default"]


def test_two_jobs_side_by_side_and_what_was_there_before_stays(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    s3, functions = emulator.client("s3"), emulator.client("lambda")
    key = emulator.client("kms").create_key()["KeyMetadata"]["Arn"]
    bucket = f"the-teams-{uuid4()}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="precious", Body=b"theirs")
    vpc, subnets = network(emulator)
    given = (f"kms_key={key}", f"artifact_bucket={bucket}", f"vpc={vpc}", f"subnets={','.join(subnets)}")
    guest = Project(emulator, tmp_path / "guest", context=(*EVERYTHING, *given), replicas=[2, 1])
    image = Project(emulator, tmp_path / "image", context=(f"image={IMAGE}",))

    guest.deploy(guest.first)
    image.deploy(image.first)
    # MiniStack's CloudFormation forgets where a function is; that its template says so, tests/infra sees.
    assert len(groups(emulator, vpc)) == 1
    inboxes = guest.left["buckets"]
    assert len(inboxes) == 2, "and none for artifacts"
    for inbox in inboxes:
        (rule,) = s3.get_bucket_encryption(Bucket=inbox)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    for function in image.stage_functions():
        told = functions.get_function(FunctionName=function["FunctionName"], Qualifier=function["Version"])
        assert told["Code"]["ImageUri"] == IMAGE

    run = f"run-{uuid4().hex[:8]}"
    monkeypatch.chdir(emulator.project)
    assert main(["start", str(guest.manifest), "--local", "--run", run, "--wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"

    image.destroy(image.first)
    assert not any(image.left.values())
    assert guest.memories() == [1024, 1024], "the other is left alone"
    guest.destroy(guest.first)
    assert not any(guest.left.values())
    assert s3.get_object(Bucket=bucket, Key="precious")["Body"].read() == b"theirs"
    assert s3.list_objects_v2(Bucket=bucket, Prefix=f"runs/{run}/")["KeyCount"], "nor is the run deleted"
    assert not groups(emulator, vpc)
