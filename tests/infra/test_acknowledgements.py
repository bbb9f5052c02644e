"""cdk-nag's AwsSolutions: nothing is found that is not acknowledged, nothing is acknowledged that is not found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from cdk_nag import AwsSolutionsChecks

from infra.packaging import Packaging
from infra.training import FuncPipeTraining
from runtime.manifest import Manifest
from tests.infra.synthesis import synthesise_app

KEY = "arn:aws:kms:eu-west-1:111122223333:key/k"


def existing_bucket(stack: cdk.Stack) -> dict[str, Any]:
    key = kms.Key.from_key_arn(stack, "SharedKey", KEY)
    bucket = s3.Bucket.from_bucket_attributes(stack, "Shared", bucket_name="the-teams-bucket", encryption_key=key)
    return {"artifact_bucket": bucket}


def own_key(stack: cdk.Stack) -> dict[str, Any]:
    return {"encryption_key": kms.Key(stack, "Key", enable_key_rotation=True)}


def in_vpc(stack: cdk.Stack) -> dict[str, Any]:
    subnets = ["subnet-00000001", "subnet-00000002"]
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-00000001", availability_zones=["a", "b"], private_subnet_ids=subnets
    )
    return {"vpc": vpc, "tracing": True}


def existing_inboxes(stack: cdk.Stack) -> dict[str, Any]:
    return {"inbox_buckets": [s3.Bucket.from_bucket_name(stack, f"Inbox{index}", f"in-{index}") for index in (0, 1)]}


CASES: dict[str, tuple[Packaging, dict[str, Any], Callable[[cdk.Stack], dict[str, Any]]]] = {
    "one stage": (Packaging.ZIP, {"stages": 1, "on_destroy": "delete"}, lambda stack: {}),
    "three stages": (Packaging.ZIP, {"stages": 3, "replicas": [1, 4, 2], "on_destroy": "retain"}, lambda stack: {}),
    "sixty stages": (Packaging.IMAGE, {"stages": 60, "replicas": 14}, lambda stack: {}),
    "many replicas": (Packaging.ZIP, {"replicas": [200, 41]}, lambda stack: {}),
    "image": (Packaging.IMAGE, {"stages": 2}, lambda stack: {}),
    "own key": (Packaging.ZIP, {"stages": 2}, own_key),
    "tracing and monitoring": (Packaging.ZIP, {"stages": 2}, lambda stack: {"tracing": True, "monitoring": True}),
    "in a VPC": (Packaging.ZIP, {"stages": 2}, in_vpc),
    "existing inboxes": (Packaging.ZIP, {"stages": 2}, existing_inboxes),
    "existing bucket": (Packaging.IMAGE, {"stages": 2}, existing_bucket),
}


@pytest.mark.parametrize("case", CASES)
def test_every_finding_is_acknowledged_and_every_acknowledgement_has_its_finding(tmp_path: Path, case: str) -> None:
    packaging, plan, properties = CASES[case]
    acknowledged: dict[tuple[str, str], str] = {}

    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        stack = cdk.Stack(app, "stack")
        made = properties(stack)
        FuncPipeTraining(stack, "Training", manifest=manifest, source=source, packaging=packaging, **made)
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        for construct in stack.node.find_all():
            for entry in construct.node.metadata:
                if entry.type == cdk.Validations.ACKNOWLEDGED_RULES_METADATA_KEY:
                    acknowledged.update({(construct.node.path, key): why for key, why in entry.data.items()})

    # An error that is not acknowledged ends the synthesis with an exception; warnings are looked for below.
    stack = synthesise_app(tmp_path, build, **plan)
    (report,) = json.loads((stack.assembly / "validation-report.json").read_text())["pluginReports"]
    assert report["pluginName"] == "AwsSolutions"
    assert report["violations"] == []
    suppressed = {
        (found["acknowledgedAt"], found["acknowledgedId"]): found["reason"] for found in report["suppressedViolations"]
    }
    assert acknowledged
    assert suppressed == acknowledged
    assert all(len(reason) > 40 for reason in suppressed.values())
