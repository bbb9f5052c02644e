"""FuncPipeTraining in other people's stacks: several of them, existing buckets and keys, other settings."""

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from infra.packaging import Packaging
from infra.training import FuncPipeTraining
from infra.training_stack import TrainingStack
from runtime.errors import UserInputError
from runtime.log import LogLevel
from runtime.manifest import Architecture, Manifest
from tests.infra.synthesis import Synthesised, listed, synthesise_app, synthesise_training, text, walk

WORKER = "FUNCPIPE_STAGE"


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Two trainings of one plan in one stack."""

    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        stack = cdk.Stack(app, "stack")
        for name in ("First", "Second"):
            FuncPipeTraining(stack, name, manifest=manifest, source=source, packaging=Packaging.ZIP)

    return synthesise_app(tmp_path_factory.mktemp("two"), build, stages=3, replicas=[2, 1, 50])


@pytest.fixture(scope="module")
def with_everything(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """A training with a key, a boundary and other settings, and a role that may start it."""

    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        stack = cdk.Stack(app, "stack")
        training = FuncPipeTraining(
            stack,
            "Training",
            manifest=manifest,
            source=source,
            packaging=Packaging.ZIP,
            encryption_key=kms.Key(stack, "Key", enable_key_rotation=True),
            permissions_boundary=iam.ManagedPolicy.from_managed_policy_name(stack, "Boundary", "team-boundary"),
            log_retention=logs.RetentionDays.ONE_WEEK,
            removal_policy=cdk.RemovalPolicy.RETAIN,
            tags={"cost-centre": "4711"},
        )
        starter = iam.Role(stack, "Starter", assumed_by=iam.AccountRootPrincipal())
        training.grant_start(starter)

    return synthesise_app(tmp_path_factory.mktemp("everything"), build, stages=3, on_destroy="delete")


def workers(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """Functions of stages by logical id."""
    return {
        key: properties
        for key, properties in stack.resources("AWS::Lambda::Function").items()
        if WORKER in properties.get("Environment", {}).get("Variables", {})
    }


def reached(stack: Synthesised, role: str) -> set[str]:
    """The logical ids of all resources that a role's policies name."""
    resources = [text(resource) for statement in stack.statements(role) for resource in listed(statement["Resource"])]
    return {key for key in stack.template["Resources"] if any(key in resource for resource in resources)}


def test_trainings_side_by_side_share_the_emptier_and_the_code_only(side_by_side: Synthesised) -> None:
    functions = workers(side_by_side)
    assert len(functions) == 2 * 3
    roles = {key: properties["Role"]["Fn::GetAtt"][0] for key, properties in functions.items()}
    (machine_roles,) = [
        {p["RoleArn"]["Fn::GetAtt"][0] for p in side_by_side.resources("AWS::StepFunctions::StateMachine").values()}
    ]
    sides: dict[str, set[str]] = {}
    for role in [*roles.values(), *machine_roles]:
        side = "First" if role.startswith("First") else "Second"
        sides.setdefault(side, set()).update(reached(side_by_side, role))
    assert sides["First"] and sides["Second"]
    assert not sides["First"] & sides["Second"]
    assert len({str(properties["Code"]) for properties in functions.values()}) == 1
    assert len(side_by_side.resources("AWS::Lambda::Function")) == 2 * 3 + 1
    assert len(side_by_side.resources("AWS::S3::Bucket")) == 2 * 4


def test_no_bucket_policy_of_trainings_side_by_side_allows_a_wildcard(side_by_side: Synthesised) -> None:
    policies = side_by_side.resources("AWS::S3::BucketPolicy").values()
    allowed = [s for p in policies for s in p["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    assert len(allowed) == 2 * 4
    assert not [action for statement in allowed for action in listed(statement["Action"]) if "*" in action]


def test_trainings_side_by_side_fit_together(side_by_side: Synthesised) -> None:
    found = lint_file(side_by_side.assembly / "stack.template.json", ManualArgs(regions=["us-east-1"]))
    assert not [str(match) for match in found if match.rule.severity == "error"]


NAMES = ("BucketName", "FunctionName", "RoleName", "LogGroupName", "StateMachineName", "PolicyName", "AlarmName")


def test_no_physical_name_is_fixed(side_by_side: Synthesised) -> None:
    """Else a second stack in one account would fail. An inline policy's name is its role's own affair."""
    for resource in side_by_side.template["Resources"].values():
        if resource["Type"] == "AWS::IAM::Policy":
            continue
        properties = resource.get("Properties", {})
        assert not [name for name in NAMES if isinstance(properties.get(name), str)], resource["Type"]


def test_logical_ids_stay_when_layers_memory_and_replicas_move(tmp_path: Path) -> None:
    before = synthesise_training(tmp_path, plan={"layers": [1, 3, 2], "memory_mb": 1024, "replicas": [1, 2, 1]})
    after = synthesise_training(tmp_path, plan={"layers": [2, 1, 3], "memory_mb": 2048, "replicas": [3, 1, 1]})
    versions = {key for stack in (before, after) for key in stack.resources("AWS::Lambda::Version")}
    assert before.template["Resources"].keys() - versions == after.template["Resources"].keys() - versions
    assert workers(before).keys() == workers(after).keys()
    changed = {
        key
        for key, resource in before.template["Resources"].items()
        if key not in versions and resource != after.template["Resources"][key]
    }
    kinds = {before.template["Resources"][key]["Type"] for key in changed}
    assert kinds == {"AWS::Lambda::Function", "AWS::Lambda::Alias", "AWS::StepFunctions::StateMachine"}
    for key in changed & workers(before).keys():
        old, new = workers(before)[key], workers(after)[key]
        assert {name for name in old if old[name] != new[name]} <= {
            "Description",
            "MemorySize",
            "ReservedConcurrentExecutions",
        }


def test_every_bucket_uses_the_key_and_every_worker_may(with_everything: Synthesised) -> None:
    (key,) = with_everything.resources("AWS::KMS::Key")
    for properties in with_everything.resources("AWS::S3::Bucket").values():
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {
            "SSEAlgorithm": "aws:kms",
            "KMSMasterKeyID": {"Fn::GetAtt": [key, "Arn"]},
        }
        assert rule["BucketKeyEnabled"] is True
    for properties in workers(with_everything).values():
        role = properties["Role"]["Fn::GetAtt"][0]
        for action, expected in [("Decrypt", True), ("GenerateDataKey", True), ("Encrypt", False), ("CreateGrant", 0)]:
            assert with_everything.allows(role, f"kms:{action}", f"arn({key})") == bool(expected)


def test_the_workflow_may_use_the_key_for_its_abort_markers(with_everything: Synthesised) -> None:
    (key,) = with_everything.resources("AWS::KMS::Key")
    (machine,) = with_everything.resources("AWS::StepFunctions::StateMachine").values()
    assert with_everything.allows(machine["RoleArn"]["Fn::GetAtt"][0], "kms:GenerateDataKey", f"arn({key})")


def test_every_role_has_the_boundary(with_everything: Synthesised) -> None:
    bounded = {
        role: text(properties.get("PermissionsBoundary", ""))
        for role, properties in with_everything.resources("AWS::IAM::Role").items()
        if "Starter" not in role
    }
    assert len(bounded) == 3 + 2, "the stages', the workflow's, and that of CDK's function that empties buckets"
    assert all(arn.endswith(":policy/team-boundary") for arn in bounded.values()), bounded


def test_retention_tags_and_removal_are_as_asked(with_everything: Synthesised) -> None:
    groups = with_everything.resources("AWS::Logs::LogGroup").values()
    assert {properties["RetentionInDays"] for properties in groups} == {7}
    for kind in ("Lambda::Function", "S3::Bucket", "Logs::LogGroup", "StepFunctions::StateMachine"):
        for properties in with_everything.resources(f"AWS::{kind}").values():
            assert {"Key": "cost-centre", "Value": "4711"} in properties["Tags"]
            assert {"Key": "funcpipe:job", "Value": with_everything.manifest.name} in properties["Tags"]
    kept = [
        resource["Type"]
        for resource in with_everything.template["Resources"].values()
        if resource.get("DeletionPolicy") == "Retain"
    ]
    assert sorted(kept) == ["AWS::KMS::Key", "AWS::S3::Bucket"], "the manifest alone would delete the artifacts"


def test_who_may_start_may_not_do_more(with_everything: Synthesised) -> None:
    (starter,) = [role for role in with_everything.resources("AWS::IAM::Role") if "Starter" in role]
    (machine,) = with_everything.resources("AWS::StepFunctions::StateMachine")
    (artifacts,) = [
        key
        for key, resource in with_everything.template["Resources"].items()
        if resource["Type"] == "AWS::S3::Bucket" and resource["DeletionPolicy"] == "Retain"
    ]

    def allowed(action: str, resource: str) -> bool:
        return with_everything.allows(starter, action, resource)

    assert allowed("states:StartExecution", machine) and allowed("states:ListExecutions", machine)
    for key in ("data/d/index.json", "runs/r/manifest.json"):
        assert allowed("s3:GetObject", f"arn({artifacts})/{key}")
        assert allowed("s3:PutObject", f"arn({artifacts})/{key}")
        assert not allowed("s3:DeleteObject", f"arn({artifacts})/{key}")
    assert not allowed("s3:PutObject", f"arn({artifacts})/elsewhere")
    for bucket in with_everything.resources("AWS::S3::Bucket"):
        assert allowed("s3:ListBucket", f"arn({bucket})") == (bucket == artifacts)
    for function in workers(with_everything):
        assert allowed("lambda:GetFunctionConfiguration", f"arn({function})")
        assert allowed("lambda:GetFunctionConcurrency", f"arn({function})"), "start asks whether it was closed"
        assert not allowed("lambda:PutFunctionConcurrency", f"arn({function})")
        assert not allowed("lambda:InvokeFunction", f"arn({function})")
    for alias in with_everything.aliases:
        assert not allowed("lambda:InvokeFunction", alias)
    logs = {text(function["LoggingConfig"]["LogGroup"]) for function in with_everything.functions}
    groups = with_everything.resources("AWS::Logs::LogGroup")
    assert {group for group in groups if allowed("logs:FilterLogEvents", f"arn({group})")} == logs, "for the bill"
    assert len(logs) == 1
    for statement in with_everything.statements(starter):
        assert not [action for action in listed(statement["Action"]) if "*" in action]
        assert "*" not in [text(resource) for resource in listed(statement["Resource"])]
    executions = [
        text(resource)
        for statement in with_everything.statements(starter)
        if "states:StopExecution" in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    ]
    (pattern,) = executions
    assert pattern.endswith(f":execution:Name({machine}):*"), "executions of this state machine alone"


def test_an_existing_bucket_is_used_and_left_alone(tmp_path: Path) -> None:
    key = "arn:aws:kms:eu-west-1:111122223333:key/k"
    stack = synthesise_training(
        tmp_path,
        plan={"stages": 2, "on_destroy": "delete"},
        artifact_bucket=lambda scope: s3.Bucket.from_bucket_attributes(
            scope,
            "Shared",
            bucket_name="the-teams-bucket",
            encryption_key=kms.Key.from_key_arn(scope, "SharedKey", key),
        ),
    )
    assert len(stack.resources("AWS::S3::Bucket")) == 2, "the inboxes"
    assert len(stack.resources("Custom::S3AutoDeleteObjects")) == 2
    for properties in workers(stack).values():
        assert stack.environment(properties)["FUNCPIPE_ARTIFACTS_URL"] == "s3://the-teams-bucket"
        role = properties["Role"]["Fn::GetAtt"][0]
        assert stack.allows(role, "kms:Decrypt", key)
        objects = [value for value in walk(stack.statements(role)) if "the-teams-bucket/" in str(value)]
        assert any("the-teams-bucket/runs/*" in str(value) for value in objects)
    found = lint_file(stack.assembly / "stack.template.json", ManualArgs(regions=["us-east-1"]))
    assert not [str(match) for match in found if match.rule.severity == "error"]


def test_the_artifacts_go_with_the_stack_only_when_asked(tmp_path: Path) -> None:
    for on_destroy, policy, kept in [
        ("retain", None, 1),
        ("delete", None, 0),
        ("retain", cdk.RemovalPolicy.DESTROY, 0),
        ("delete", cdk.RemovalPolicy.RETAIN, 1),
    ]:
        stack = synthesise_training(tmp_path, plan={"stages": 1, "on_destroy": on_destroy}, removal_policy=policy)
        policies = [r.get("DeletionPolicy") for r in stack.template["Resources"].values()]
        assert policies.count("Retain") == kept
        assert len(stack.resources("Custom::S3AutoDeleteObjects")) == 2 - kept


def test_tracing_is_off_unless_asked_for(with_everything: Synthesised) -> None:
    assert "xray" not in with_everything.text
    assert all("TracingConfig" not in properties for properties in workers(with_everything).values())


def test_tracing_grants_its_own_actions_on_all_resources_and_nothing_else(tmp_path: Path) -> None:
    stack = synthesise_training(tmp_path, plan={"stages": 2, "replicas": [1, 41]}, tracing=True)
    (machine,) = stack.resources("AWS::StepFunctions::StateMachine").values()
    assert machine["TracingConfiguration"] == {"Enabled": True}
    roles = [machine["RoleArn"]["Fn::GetAtt"][0]]
    for properties in workers(stack).values():
        assert properties["TracingConfig"] == {"Mode": "Active"}
        roles.append(properties["Role"]["Fn::GetAtt"][0])
    for role in roles:
        (everywhere,) = [s for s in stack.statements(role) if "*" in map(text, listed(s["Resource"]))]
        assert all(action.startswith("xray:") for action in everywhere["Action"])
        assert stack.allows(role, "xray:PutTraceSegments", "*")
    plain = synthesise_training(tmp_path, plan={"stages": 2, "replicas": [1, 41]})
    assert len(stack.template["Resources"]) == len(plain.template["Resources"])


def test_the_log_level_reaches_the_workers(tmp_path: Path) -> None:
    for level in LogLevel:
        stack = synthesise_training(tmp_path, plan={"stages": 2}, log_level=level)
        for properties in workers(stack).values():
            assert stack.environment(properties)["FUNCPIPE_LOG_LEVEL"] == level.value


def test_existing_inboxes_are_used_and_left_alone(tmp_path: Path) -> None:
    stack = synthesise_training(
        tmp_path,
        plan={"stages": 2, "on_destroy": "retain"},
        inbox_buckets=lambda scope: [
            s3.Bucket.from_bucket_name(scope, f"In{index}", f"the-teams-inbox-{index}") for index in (0, 1)
        ],
    )
    assert len(stack.resources("AWS::S3::Bucket")) == 1, "the artifacts"
    assert not stack.resources("Custom::S3AutoDeleteObjects")
    assert len(stack.resources("AWS::Lambda::Function")) == 2, "there is nothing to be emptied"
    for index, function in enumerate(stack.functions):
        urls = json.loads(stack.environment(function)["FUNCPIPE_INBOX_URLS"])
        assert urls == {"0": "s3://the-teams-inbox-0", "1": "s3://the-teams-inbox-1"}
        role = function["Role"]["Fn::GetAtt"][0]
        statements = stack.statements(role)
        named = {text(arn).rpartition(":")[2] for statement in statements for arn in listed(statement["Resource"])}
        assert f"the-teams-inbox-{index}" in named and f"the-teams-inbox-{1 - index}/*" in named
        assert f"the-teams-inbox-{1 - index}" not in named, "it is not listed by a neighbour"


@pytest.mark.parametrize("names", [["one"], ["one", "one"], ["one", "two", "three"]])
def test_inboxes_that_do_not_fit_the_stages_are_refused(tmp_path: Path, names: list[str]) -> None:
    def given(scope: cdk.Stack) -> list[s3.IBucket]:
        made = {name: s3.Bucket.from_bucket_name(scope, name, name) for name in set(names)}
        return [made[name] for name in names]

    with pytest.raises(UserInputError, match=r"an inbox of its own \(stages: 2"):
        synthesise_training(tmp_path, plan={"stages": 2}, inbox_buckets=given)


def test_a_plan_for_another_instruction_set_is_refused(tmp_path: Path) -> None:
    synthesise_training(tmp_path, plan={"architecture": "arm64"}, architecture=Architecture.ARM64)
    with pytest.raises(UserInputError, match=r'for x86_64, not for arm64. .*package.architecture = "arm64"'):
        synthesise_training(tmp_path, plan={"architecture": "x86_64"}, architecture=Architecture.ARM64)


def test_two_stacks_of_one_job_share_nothing(tmp_path: Path) -> None:
    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        for name in ("stack", "other"):
            TrainingStack(app, name, manifest=manifest, source=source, packaging=Packaging.ZIP)

    one = synthesise_app(tmp_path, build, stages=2)
    other = json.loads((one.assembly / "other.template.json").read_text())
    assert other["Resources"].keys() == one.template["Resources"].keys()
    for template in (one.template, other):
        assert "Export" not in str(template["Outputs"]) and "Fn::ImportValue" not in json.dumps(template)
        for resource in template["Resources"].values():
            properties = resource.get("Properties", {})
            if resource["Type"] != "AWS::IAM::Policy":
                assert not [name for name in NAMES if isinstance(properties.get(name), str)]


def test_a_workers_environment_is_settings_and_places_and_no_secrets(tmp_path: Path) -> None:
    stack = synthesise_training(tmp_path, plan={"stages": 2}, monitoring=True, tracing=True)
    for function in stack.functions:
        assert set(stack.environment(function)) == {
            "FUNCPIPE_ARTIFACTS_URL",
            "FUNCPIPE_INBOX_URLS",
            "FUNCPIPE_LOG_LEVEL",
            "FUNCPIPE_METRICS",
            "FUNCPIPE_SOURCE",
            "FUNCPIPE_STAGE",
        }


def test_artifacts_are_versioned_for_three_days_and_inboxes_expire_after_one(tmp_path: Path) -> None:
    stack = synthesise_training(tmp_path, plan={"stages": 1})
    artifacts = stack.environment(stack.functions[0])["FUNCPIPE_ARTIFACTS_URL"].removeprefix("s3://")
    for key, properties in stack.resources("AWS::S3::Bucket").items():
        rules = properties["LifecycleConfiguration"]["Rules"]
        settings = {name: value for rule in rules for name, value in rule.items() if name not in ("Status", "Id")}
        assert all(rule["Status"] == "Enabled" and "Prefix" not in rule for rule in rules)
        assert settings.pop("AbortIncompleteMultipartUpload") == {"DaysAfterInitiation": 1}
        if key == artifacts:
            assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
            assert settings == {
                "ExpiredObjectDeleteMarker": True,
                "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
            }, "and what is current never expires"
        else:
            assert "VersioningConfiguration" not in properties
            assert settings == {"ExpirationInDays": 1}
        assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
