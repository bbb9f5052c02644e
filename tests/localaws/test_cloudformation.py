"""What the emulator makes of templates: by CloudFormation alone, and by the CDK command with the kit's own stack."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from localaws.inventory import inventory
from tests.conftest import RunningEmulator
from tests.embedded.cdk import cdk
from tests.localaws.waiting import wait_until
from tests.manifests import write_project


def create(emulator: RunningEmulator, **resources: Any) -> str:
    """A stack of ``resources``; its name."""
    formation, name = emulator.client("cloudformation"), f"stack-{uuid4()}"
    formation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources}))
    wait_until(lambda: "IN_PROGRESS" not in status(emulator, name), "the stack is made")
    assert status(emulator, name) == "CREATE_COMPLETE"
    return name


def status(emulator: RunningEmulator, stack: str) -> str:
    """The stack's, also after it has been deleted."""
    pages = emulator.client("cloudformation").get_paginator("list_stacks").paginate()
    return next(item["StackStatus"] for page in pages for item in page["StackSummaries"] if item["StackName"] == stack)


def delete(emulator: RunningEmulator, stack: str) -> str:
    emulator.client("cloudformation").delete_stack(StackName=stack)
    wait_until(lambda: status(emulator, stack) in ("DELETE_COMPLETE", "DELETE_FAILED"), "the stack is deleted")
    return status(emulator, stack)


def physical_id(emulator: RunningEmulator, stack: str, logical_id: str) -> str:
    resources = emulator.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    return next(item["PhysicalResourceId"] for item in resources if item["LogicalResourceId"] == logical_id)


def test_a_bucket_keeps_its_tags_and_lifecycle_rules(emulator: RunningEmulator) -> None:
    rules = [
        {"Id": "old", "Prefix": "runs/<&>/", "Status": "Enabled", "ExpirationInDays": 3},
        {"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
        {
            "Status": "Enabled",
            "ExpiredObjectDeleteMarker": True,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
        },
    ]
    properties = {"Tags": [{"Key": "job", "Value": "digits"}], "LifecycleConfiguration": {"Rules": rules}}
    stack = create(emulator, Bucket={"Type": "AWS::S3::Bucket", "Properties": properties})
    s3, bucket = emulator.client("s3"), physical_id(emulator, stack, "Bucket")
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "job", "Value": "digits"}]
    old, multipart, noncurrent = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert (old["ID"], old["Filter"]["Prefix"], old["Expiration"]["Days"]) == ("old", "runs/<&>/", 3)
    assert multipart["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert noncurrent["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    assert noncurrent["NoncurrentVersionExpiration"] == {"NoncurrentDays": 3}
    assert delete(emulator, stack) == "DELETE_COMPLETE"


def test_a_bucket_with_objects_is_not_deleted(emulator: RunningEmulator) -> None:
    stack = create(emulator, Bucket={"Type": "AWS::S3::Bucket"})
    s3, bucket = emulator.client("s3"), physical_id(emulator, stack, "Bucket")
    s3.put_object(Bucket=bucket, Key="precious")
    assert delete(emulator, stack) == "DELETE_FAILED"
    assert s3.get_object(Bucket=bucket, Key="precious")["Body"].read() == b""
    assert inventory(stack, emulator.environment)["buckets"] == [bucket]
    s3.delete_object(Bucket=bucket, Key="precious")
    assert delete(emulator, stack) == "DELETE_COMPLETE"
    assert not any(inventory(stack, emulator.environment).values())


def test_a_bucket_with_versions_of_deleted_objects_is_not_deleted(emulator: RunningEmulator) -> None:
    properties = {"VersioningConfiguration": {"Status": "Enabled"}}
    stack = create(emulator, Bucket={"Type": "AWS::S3::Bucket", "Properties": properties})
    s3, bucket = emulator.client("s3"), physical_id(emulator, stack, "Bucket")
    s3.put_object(Bucket=bucket, Key="precious")
    s3.delete_object(Bucket=bucket, Key="precious")
    assert delete(emulator, stack) == "DELETE_FAILED"
    found = s3.list_object_versions(Bucket=bucket)
    for version in found["Versions"] + found["DeleteMarkers"]:
        s3.delete_object(Bucket=bucket, Key="precious", VersionId=version["VersionId"])
    assert delete(emulator, stack) == "DELETE_COMPLETE"


def test_reserved_concurrency_of_a_template(emulator: RunningEmulator) -> None:
    properties = {
        "Runtime": "python3.11",
        "Handler": "index.handler",
        "Role": f"arn:aws:iam::{emulator.account}:role/worker",
        "Code": {"ZipFile": "def handler(event, context):\n    return event\n"},
        "ReservedConcurrentExecutions": 0,
    }
    stack = create(emulator, Function={"Type": "AWS::Lambda::Function", "Properties": properties})
    functions = emulator.client("lambda")
    with pytest.raises(functions.exceptions.TooManyRequestsException):
        functions.invoke(FunctionName=physical_id(emulator, stack, "Function"))
    assert delete(emulator, stack) == "DELETE_COMPLETE"


def test_a_budget(emulator: RunningEmulator) -> None:
    budget = {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": 5, "Unit": "USD"}}
    stack = create(emulator, Budget={"Type": "AWS::Budgets::Budget", "Properties": {"Budget": budget}})
    budgets, name = emulator.client("budgets"), physical_id(emulator, stack, "Budget")
    made = budgets.describe_budget(AccountId=emulator.account, BudgetName=name)["Budget"]
    assert float(made["BudgetLimit"]["Amount"]) == 5
    assert delete(emulator, stack) == "DELETE_COMPLETE"
    with pytest.raises(ClientError, match="NotFoundException"):
        budgets.describe_budget(AccountId=emulator.account, BudgetName=name)


def test_an_alarm_on_an_expression_is_kept_and_goes_with_its_stack(emulator: RunningEmulator) -> None:
    properties = {
        "Metrics": [{"Id": "sum", "Expression": "SUM(METRICS())", "ReturnData": True}],
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 3,
        "EvaluationPeriods": 1,
    }
    stack = create(emulator, Alarm={"Type": "AWS::CloudWatch::Alarm", "Properties": properties})
    name, cloudwatch = physical_id(emulator, stack, "Alarm"), emulator.client("cloudwatch")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert (alarm["Threshold"], alarm["StateValue"]) == (3, "INSUFFICIENT_DATA")
    assert delete(emulator, stack) == "DELETE_COMPLETE"
    assert not inventory(stack, emulator.environment)["alarms"]


def test_the_kits_stack_is_deployed_and_destroyed_without_a_trace(emulator: RunningEmulator, tmp_path: Path) -> None:
    manifest = write_project(tmp_path, name=f"job{uuid4().hex[:8]}", stages=2, replicas=[2, 1])
    stack = f"funcpipe-{json.loads(manifest.read_text())['name']}"
    app = tmp_path / "cdk.out"
    cdk(emulator, "synth", "-c", f"manifest={manifest}", "-c", "packaging=zip", "--output", app, "--quiet")
    cdk(emulator, "deploy", "--app", app, "--require-approval", "never")
    made = inventory(stack, emulator.environment)
    assert all(names for kind, names in made.items() if kind not in ("alarms", "dashboards")), made
    assert len(made["functions"]) == 2 + 1, "the stages', and CDK's that empties buckets"
    assert len(made["buckets"]) == 2 + 1, "the stages' inboxes, and the artifacts"
    assert "There were no differences" in cdk(emulator, "diff", "--app", app)
    # A bucket with objects is what CDK's custom resource is for.
    for bucket in made["buckets"]:
        emulator.client("s3").put_object(Bucket=bucket, Key="left/behind", Body=b"x")
    cdk(emulator, "destroy", "--app", app, "--force")
    assert inventory(stack, emulator.environment) == {kind: [] for kind in made}
