"""Context keys: each reaches the stack, each wrong value is one message that names key and value."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from infra.context import read_options
from infra.packaging import Packaging
from infra.training_stack import TrainingStack
from runtime.errors import UserInputError
from runtime.manifest import Manifest
from tests.infra.synthesis import ROOT, Synthesised, synthesise_app, walk

KEY = "arn:aws:kms:eu-west-1:111122223333:key/0a1b"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:ops"
BOUNDARY = "arn:aws:iam::111122223333:policy/team-boundary"
ALL = {
    "log_level": "DEBUG",
    "log_retention_days": "7",
    "tracing": "on",
    "monitoring": "on",
    "budget_usd": "2.5",
    "alarm_topic": TOPIC,
    "kms_key": KEY,
    "permissions_boundary": BOUNDARY,
    "artifact_bucket": "the-teams-bucket",
    "vpc": "vpc-0000000a",
    "subnets": "subnet-0000000a,subnet-0000000b",
    "security_groups": "sg-0000000a",
}


def options(**context: Any) -> Any:
    app = cdk.App(analytics_reporting=False)
    for key, value in context.items():
        app.node.set_context(key, value)
    return read_options(app.node)


@pytest.fixture(scope="module")
def with_all(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        chosen = options(**ALL)
        TrainingStack(app, "stack", manifest=manifest, source=source, packaging=Packaging.ZIP, options=chosen)

    return synthesise_app(tmp_path_factory.mktemp("all"), build, stages=2)


def test_every_key_reaches_the_stack(with_all: Synthesised) -> None:
    for function in with_all.functions:
        environment = with_all.environment(function)
        assert environment["FUNCPIPE_LOG_LEVEL"] == "DEBUG"
        assert environment["FUNCPIPE_ARTIFACTS_URL"] == "s3://the-teams-bucket"
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert function["VpcConfig"] == {
            "SecurityGroupIds": ["sg-0000000a"],
            "SubnetIds": ["subnet-0000000a", "subnet-0000000b"],
        }
    for role in with_all.resources("AWS::IAM::Role").values():
        assert role["PermissionsBoundary"] == BOUNDARY
    for bucket in with_all.resources("AWS::S3::Bucket").values():
        assert KEY in list(walk(bucket["BucketEncryption"]))
    assert {group["RetentionInDays"] for group in with_all.resources("AWS::Logs::LogGroup").values()} == {7}
    alarms = with_all.resources("AWS::CloudWatch::Alarm").values()
    assert all(alarm["AlarmActions"] == [TOPIC] for alarm in alarms)
    assert 2.0 in [alarm["Threshold"] for alarm in alarms], "80 % of the budget"
    outputs = with_all.template["Outputs"]
    assert outputs["AfterDestroy"]["Value"].startswith("s3://the-teams-bucket stays")


def test_without_a_key_the_default_holds() -> None:
    assert options().properties(cdk.Stack()) == {}


def test_types_of_cdk_json() -> None:
    given = options(tracing=True, log_retention_days=30, budget_usd=2, subnets=["subnet-0000000a"], vpc="vpc-0000000a")
    assert (given.tracing, given.log_retention_days, given.budget_usd, given.subnets) == (
        True,
        30,
        2.0,
        ("subnet-0000000a",),
    )


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"log_level": "verbose"}, "log_level must be one of DEBUG, INFO, WARNING, ERROR (given: 'verbose')"),
        ({"log_retention_days": "8"}, "one of 1, 3, 5, 7, 14, 30, 60, 90, 180, 365 (given: '8')"),
        ({"log_retention_days": "¹"}, "(given: '¹')"),
        ({"tracing": "yes"}, "tracing must be on or off (given: 'yes'). Correct -c tracing."),
        ({"monitoring": 1}, "monitoring must be on or off (given: 1)"),
        ({"budget_usd": "0"}, "budget_usd must be a number of USD above 0 (given: '0')"),
        ({"budget_usd": "nan"}, "(given: 'nan')"),
        ({"budget_usd": "ten"}, "(given: 'ten')"),
        ({"budget_usd": True}, "(given: True)"),
        ({"budget_usd": [1]}, "(given: [1])"),
        ({"alarm_topic": "ops"}, "the ARN of an SNS topic (given: 'ops')"),
        ({"kms_key": f"{KEY}\n"}, "the ARN of a KMS key"),
        ({"kms_key": "alias/team"}, "the ARN of a KMS key"),
        ({"permissions_boundary": "*"}, "the ARN of an IAM policy (given: '*')"),
        ({"artifact_bucket": "s3://mine"}, "the name of an S3 bucket (given: 's3://mine')"),
        ({"artifact_bucket": "${Token[1]}"}, "the name of an S3 bucket"),
        ({"vpc": "vpc-0000000a"}, "vpc and subnets belong together"),
        ({"subnets": "subnet-0000000a"}, "vpc and subnets belong together"),
        ({"vpc": "default", "subnets": "subnet-0000000a"}, "vpc must be an id like vpc-0123abcd (given: 'default')"),
        ({"vpc": "vpc-0000000a", "subnets": "subnet-0000000a;subnet-0000000b"}, "separated by commas"),
        ({"security_groups": "sg-0000000a"}, "Give vpc and subnets, too"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(context: dict[str, Any], message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        options(**context)
    assert message in str(caught.value)


def test_the_documentation_lists_every_key() -> None:
    table = (ROOT / "docs" / "infra.md").read_text()
    assert {f"`{key}`" for key in ALL} <= set(table.split())
