"""The stack as a whole, for very different plans."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from runtime.manifest import MAX_STAGES
from tests.infra.conftest import PLANS
from tests.infra.synthesis import ROOT, Synthesised, listed, synthesise, synthesise_training, text, walk

CLOUDFORMATION_RESOURCES = 500
CLOUDFORMATION_TEMPLATE_BYTES = 1_000_000
IAM_INLINE_CHARACTERS = 10_240
"""Of all inline policies of a role together, white space not counted
(docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html, read 2026-11-26)."""
LAMBDA_NAME_CHARACTERS = 64


def test_outputs_by_name(stack: Synthesised) -> None:
    outputs = stack.template["Outputs"]
    assert set(outputs) == {"AfterDestroy", "ArtifactBucket", "StateMachineArn", "ManifestSha256"}
    assert outputs["ManifestSha256"]["Value"] == stack.manifest.sha256
    (machine,) = stack.resources("AWS::StepFunctions::StateMachine")
    assert outputs["StateMachineArn"]["Value"] == {"Ref": machine}
    artifacts = stack.environment(stack.functions[0])["FUNCPIPE_ARTIFACTS_URL"].removeprefix("s3://")
    assert outputs["ArtifactBucket"]["Value"] == {"Ref": artifacts}
    after = text(outputs["AfterDestroy"]["Value"])
    assert after == "nothing stays" if stack.manifest.on_destroy == "delete" else f"s3://{artifacts} stays" in after


TAGGED = ("Lambda::Function", "IAM::Role", "S3::Bucket", "Logs::LogGroup", "StepFunctions::StateMachine")


@pytest.mark.parametrize("kind", TAGGED)
def test_everything_that_has_tags_names_the_job(stack: Synthesised, kind: str) -> None:
    resources = stack.resources(f"AWS::{kind}")
    assert resources
    for properties in resources.values():
        assert {"Key": "funcpipe:job", "Value": stack.manifest.name} in properties["Tags"]


def test_every_function_logs_to_a_group_that_expires_and_goes_with_the_stack(stack: Synthesised) -> None:
    groups = stack.resources("AWS::Logs::LogGroup")
    used = [
        properties["LoggingConfig"]["LogGroup"]["Ref"]
        for properties in stack.resources("AWS::Lambda::Function").values()
    ]
    assert set(used) == set(groups)
    for key, properties in groups.items():
        assert properties["RetentionInDays"] == 30
        assert stack.template["Resources"][key]["DeletionPolicy"] == "Delete"


def test_only_the_artifacts_may_outlive_the_stack(stack: Synthesised) -> None:
    kept = [key for key, resource in stack.template["Resources"].items() if resource.get("DeletionPolicy") == "Retain"]
    artifacts = stack.environment(stack.functions[0])["FUNCPIPE_ARTIFACTS_URL"].removeprefix("s3://")
    assert kept == ([artifacts] if stack.manifest.on_destroy == "retain" else [])


def test_functions_are_deleted_before_the_buckets_they_write_to_are_emptied(stack: Synthesised) -> None:
    emptied = {
        properties["BucketName"]["Ref"]: key
        for key, properties in stack.resources("Custom::S3AutoDeleteObjects").items()
    }
    for key, properties in stack.resources("AWS::Lambda::Function").items():
        if "Environment" not in properties:
            continue
        environment = stack.environment(properties)
        urls = [environment["FUNCPIPE_ARTIFACTS_URL"], *json.loads(environment["FUNCPIPE_INBOX_URLS"]).values()]
        written = {url.removeprefix("s3://") for url in urls} & emptied.keys()
        assert written
        assert {emptied[bucket] for bucket in written} <= set(stack.template["Resources"][key]["DependsOn"])


def test_no_account_region_or_name_is_fixed(stack: Synthesised) -> None:
    strings = [value for value in walk(stack.template["Resources"]) if isinstance(value, str)]
    assert not [value for value in strings if "us-east-1" in value or "arn:aws" in value]
    for kind, name in [("S3::Bucket", "BucketName"), ("Lambda::Function", "FunctionName"), ("IAM::Role", "RoleName")]:
        assert all(name not in properties for properties in stack.resources(f"AWS::{kind}").values())


def test_two_syntheses_are_identical(three_stages: Synthesised) -> None:
    again = synthesise(three_stages.assembly.parent, **PLANS["three stages, unequal"])
    assert again.manifest == three_stages.manifest
    assert again.text == three_stages.text


def test_every_template_is_within_cloudformations_limits(stack: Synthesised) -> None:
    assert len(stack.template["Resources"]) <= CLOUDFORMATION_RESOURCES
    assert (stack.assembly / "stack.template.json").stat().st_size <= CLOUDFORMATION_TEMPLATE_BYTES


@pytest.fixture(scope="module")
def largest(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The most stages, with everything that an option can add."""
    return synthesise_training(
        tmp_path_factory.mktemp("largest"),
        plan={"stages": MAX_STAGES, "replicas": [60, *[14] * (MAX_STAGES - 1)]},
        encryption_key=lambda stack: kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/k"),
        permissions_boundary=lambda stack: iam.ManagedPolicy.from_managed_policy_name(stack, "Boundary", "boundary"),
        removal_policy=RemovalPolicy.DESTROY,
        vpc=lambda stack: ec2.Vpc.from_vpc_attributes(
            stack,
            "Vpc",
            vpc_id="vpc-0000000a",
            availability_zones=["a", "b", "c"],
            private_subnet_ids=[f"subnet-0123456789abcdef{index}" for index in range(3)],
        ),
        alarm_topic=lambda stack: sns.Topic.from_topic_arn(stack, "Topic", "arn:aws:sns:eu-west-1:111122223333:ops"),
        budget_usd=9.0,
        tracing=True,
        tags={"cost-centre": "4711"},
    )


def test_the_largest_plan_with_everything_fits_into_a_template(largest: Synthesised) -> None:
    assert len(largest.functions) == len(largest.aliases) == MAX_STAGES
    assert len(largest.template["Resources"]) <= CLOUDFORMATION_RESOURCES
    assert (largest.assembly / "stack.template.json").stat().st_size <= CLOUDFORMATION_TEMPLATE_BYTES


def test_policies_of_the_largest_plan_fit_into_their_roles(largest: Synthesised) -> None:
    """With the longest ARN of an alias that AWS may make, in place of each logical id."""
    arn = f"arn:aws-us-gov:lambda:us-gov-west-1:{'1' * 12}:function:{'x' * LAMBDA_NAME_CHARACTERS}:deployed"
    ids = re.compile("|".join(largest.template["Resources"]))
    for role in largest.resources("AWS::IAM::Role"):
        shown = [
            {**statement, "Resource": [ids.sub(arn, text(resource)) for resource in listed(statement["Resource"])]}
            for statement in largest.statements(role)
        ]
        assert len(json.dumps(shown, separators=(",", ":"))) <= IAM_INLINE_CHARACTERS, role


def test_cfn_lint_finds_no_error(stack: Synthesised) -> None:
    found = lint_file(stack.assembly / "stack.template.json", ManualArgs(regions=["us-east-1"]))
    assert not [str(match) for match in found if match.rule.severity == "error"]


def test_synthesis_needs_neither_torch_nor_docker_nor_credentials(three_stages: Synthesised) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nimport aws_cdk as cdk\n"
        "from infra.packaging import Packaging\nfrom infra.training_stack import TrainingStack\n"
        "from runtime.manifest import load_manifest\n"
        "path, out = Path(sys.argv[1]), sys.argv[2]\nmanifest = load_manifest(path)\n"
        "app = cdk.App(outdir=out)\n"
        "TrainingStack(app, 'stack', manifest=manifest, source=path.parent / manifest.package.source, "
        "packaging=Packaging.IMAGE)\napp.synth()\n"
        "assert 'torch' not in sys.modules and 'boto3' not in sys.modules\n"
    )
    project = three_stages.assembly.parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(project / "manifest.json"), str(project / "image.out")],
        cwd=ROOT,
        env={"PATH": str(ROOT / "nothing-here"), "JSII_NODE": str(shutil.which("node"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    template = json.loads((project / "image.out" / "stack.template.json").read_text())
    packages = [
        resource["Properties"].get("PackageType")
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    assert packages.count("Image") == len(three_stages.manifest.stages)
