"""Every (role, action, object) is allowed exactly when the method needs it: policies are evaluated, not compared."""

import json
from collections.abc import Iterator

import boto3
import pytest

from runtime import keys
from tests.infra.synthesis import Synthesised, listed, synthesise, text

OBJECT_ACTIONS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
OTHER_ACTIONS = ("s3:DeleteBucket", "s3:PutBucketPolicy", "s3:PutObjectAcl", "s3:DeleteObjectVersion")


def roles(stack: Synthesised) -> Iterator[tuple[int, str, dict[int, str], str]]:
    """Stage, role, every stage's inbox, and the artifact bucket, as the environments tell it."""
    environments = [stack.environment(function) for function in stack.functions]
    inboxes = {
        stage: json.loads(environment["FUNCPIPE_INBOX_URLS"])[str(stage)].removeprefix("s3://")
        for stage, environment in enumerate(environments)
    }
    artifacts = environments[0]["FUNCPIPE_ARTIFACTS_URL"].removeprefix("s3://")
    for stage, function in enumerate(stack.functions):
        yield stage, function["Role"]["Fn::GetAtt"][0], inboxes, artifacts


def test_buckets_are_told_apart(stack: Synthesised) -> None:
    _, _, inboxes, artifacts = next(roles(stack))
    assert len({*inboxes.values(), artifacts}) == len(stack.manifest.stages) + 1
    assert set(stack.resources("AWS::S3::Bucket")) == {*inboxes.values(), artifacts}


def test_a_worker_knows_its_own_inbox_and_its_neighbours(stack: Synthesised) -> None:
    last = len(stack.manifest.stages) - 1
    _, _, inboxes, _ = next(roles(stack))
    for stage, function in enumerate(stack.functions):
        urls = json.loads(stack.environment(function)["FUNCPIPE_INBOX_URLS"])
        near = range(max(stage - 1, 0), min(stage + 1, last) + 1)
        assert urls == {str(other): f"s3://{inboxes[other]}" for other in near}


S3_ACTIONS = {
    *(
        f"s3:{operation}"
        for operation in boto3.client("s3", region_name="us-east-1").meta.service_model.operation_names
    ),
    *("s3:ListBucket", "s3:ListBucketVersions", "s3:DeleteObjectVersion", "s3:GetObjectVersion", "s3:PutBucketPolicy"),
    *("s3:BypassGovernanceRetention", "s3:PutObjectVersionAcl", "s3:PutLifecycleConfiguration"),
}
"""Every operation's name, and actions that are called otherwise."""


@pytest.fixture(scope="module")
def four_stages(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise(tmp_path_factory.mktemp("four"), stages=4, replicas=[1, 2, 1, 2])


def test_every_role_bucket_and_action_of_a_job_of_four_stages(four_stages: Synthesised) -> None:
    """Written out by hand, and compared both ways: nothing is missing, nothing is there besides."""
    get, put, delete, find = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"
    data = f"data/{four_stages.manifest.dataset.sha256}"
    index, inputs, targets = f"{data}/index.json", f"{data}/train-input-00000.x", f"{data}/train-target-00000.x"
    test, other, elsewhere = f"{data}/test-input-00000.x", "data/other/index.json", "k"
    plan, begin, end = "runs/r/manifest.json", "runs/r/outcomes/initial.json", "runs/r/stop.json"
    record, outcome, layer = "runs/r/segments/00000/000/x", "runs/r/outcomes/0-0.json", "runs/r/layers/00000/x"
    reads = {(key, get) for key in (plan, begin, end, record, outcome, layer)}
    run = {("", find), *reads, *((key, put) for key in (record, outcome, layer))}
    intended = {
        0: {
            "inbox0": {("", find), ("k", get), ("k", put), ("k", delete)},
            "inbox1": {("k", put)},
            "artifacts": run | {(index, get), (inputs, get), (layer, delete)},
        },
        1: {
            "inbox0": {("k", put)},
            "inbox1": {("", find), ("k", get), ("k", put), ("k", delete)},
            "inbox2": {("k", put)},
            "artifacts": run,
        },
        2: {
            "inbox1": {("k", put)},
            "inbox2": {("", find), ("k", get), ("k", put), ("k", delete)},
            "inbox3": {("k", put)},
            "artifacts": run,
        },
        3: {
            "inbox2": {("k", put)},
            "inbox3": {("", find), ("k", get), ("k", put), ("k", delete)},
            "artifacts": run | {(index, get), (targets, get)},
        },
    }
    assert len(S3_ACTIONS) > 100
    for stage, role, inboxes, artifacts in roles(four_stages):
        names = {**{f"inbox{other}": inbox for other, inbox in inboxes.items()}, "artifacts": artifacts}
        for name, bucket in names.items():
            places = ["", index, inputs, targets, test, other, plan, begin, end, record, outcome, layer, elsewhere]
            allowed = {
                (key, action)
                for key in places
                for action in S3_ACTIONS
                if four_stages.allows(role, action, f"arn({bucket})" + (f"/{key}" if key else ""))
            }
            if name != "artifacts":  # a key is a key, whatever it looks like
                like_k = {key: {action for at, action in allowed if at == key} for key in places if key}
                assert all(actions == like_k["k"] for actions in like_k.values())
                allowed = {(key, action) for key, action in allowed if key in ("", "k")}
            assert allowed == intended[stage].get(name, set()), (stage, name)


def test_objects_of_inboxes(stack: Synthesised) -> None:
    for stage, role, inboxes, _ in roles(stack):
        for other, inbox in inboxes.items():
            allowed = {
                action for action in OBJECT_ACTIONS if stack.allows(role, action, f"arn({inbox})/run/00000/000/x")
            }
            distance = abs(stage - other)
            assert allowed == (set(OBJECT_ACTIONS) if distance == 0 else {"s3:PutObject"} if distance == 1 else set())


def test_objects_of_the_artifact_bucket(stack: Synthesised) -> None:
    data, last = stack.manifest.dataset.sha256, len(stack.manifest.stages) - 1
    for stage, role, _, artifacts in roles(stack):
        for key, expected in [
            (keys.data_index(data), {"s3:GetObject"} if stage in (0, last) else set()),
            (keys.data_shard(data, "train", "input", 3), {"s3:GetObject"} if stage == 0 else set()),
            (keys.data_shard(data, "train", "target", 3), {"s3:GetObject"} if stage == last else set()),
            (keys.data_shard(data, "test", "input", 0), set()),
            (keys.data_shard("e" * 64, "train", "input", 3), set()),
            (keys.GangKeys("r", 0, 0).progress(0, 0), {"s3:GetObject", "s3:PutObject"}),
            (keys.GangKeys("r", 0, 0).outcome, {"s3:GetObject", "s3:PutObject"}),
            (keys.layer("r", "00000/a"), set(OBJECT_ACTIONS) if stage == 0 else {"s3:GetObject", "s3:PutObject"}),
            (keys.commit("r", keys.INITIAL), {"s3:GetObject"}),
            (keys.manifest("r"), {"s3:GetObject"}),
            (keys.stop("r"), {"s3:GetObject"}),
            ("elsewhere", set()),
        ]:
            assert {a for a in OBJECT_ACTIONS if stack.allows(role, a, f"arn({artifacts})/{key}")} == expected, key


def test_listing_is_allowed_where_a_worker_reads(stack: Synthesised) -> None:
    """Without it, S3 answers 403 instead of 404 to a GET of an object that has not been sent yet."""
    for stage, role, inboxes, artifacts in roles(stack):
        listable = {
            bucket for bucket in [*inboxes.values(), artifacts] if stack.allows(role, "s3:ListBucket", f"arn({bucket})")
        }
        assert listable == {inboxes[stage], artifacts}


def test_nothing_else_on_any_bucket(stack: Synthesised) -> None:
    for _, role, inboxes, artifacts in roles(stack):
        for bucket in [*inboxes.values(), artifacts]:
            for action in OTHER_ACTIONS:
                assert not stack.allows(role, action, f"arn({bucket})")
                assert not stack.allows(role, action, f"arn({bucket})/runs/r/x")


def test_a_worker_writes_to_the_trainings_log_and_no_other(stack: Synthesised) -> None:
    groups = stack.resources("AWS::Logs::LogGroup")
    assert len(groups) == 2, "the workers', and that of the function that empties buckets"
    for function in stack.functions:
        role, own = function["Role"]["Fn::GetAtt"][0], function["LoggingConfig"]["LogGroup"]["Ref"]
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            assert {group for group in groups if stack.allows(role, action, f"arn({group})")} == {own}
        assert not stack.allows(role, "logs:CreateLogGroup", f"arn({own})")


def test_the_workflow_invokes_the_stages_aliases_and_nothing_else(stack: Synthesised) -> None:
    (machine,) = stack.resources("AWS::StepFunctions::StateMachine").values()
    role = machine["RoleArn"]["Fn::GetAtt"][0]
    named = [
        text(arn)
        for statement in stack.statements(role)
        if "lambda:InvokeFunction" in listed(statement["Action"])
        for arn in listed(statement["Resource"])
    ]
    assert sorted(named) == sorted(stack.aliases), "by their exact ARNs"
    for function in stack.resources("AWS::Lambda::Function"):
        for qualifier in ("", ":$LATEST", ":1", ":deployed", ":*"):
            assert not stack.allows(role, "lambda:InvokeFunction", f"arn({function}){qualifier}"), "only by alias"
    for version in stack.resources("AWS::Lambda::Version"):
        assert not stack.allows(role, "lambda:InvokeFunction", version), "nor one that is left behind"
    actions = {action for statement in stack.statements(role) for action in listed(statement["Action"])}
    distributed = any(stage.replicas > 40 for stage in stack.manifest.stages)
    storage = {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    assert actions == {"lambda:InvokeFunction", "states:StartExecution"} | storage | (
        {"states:DescribeExecution", "states:StopExecution"} if distributed else set()
    )
    (own,) = stack.resources("AWS::StepFunctions::StateMachine")
    assert stack.allows(role, "states:StartExecution", own), "its own next execution"


def test_the_workflow_reads_and_writes_outcomes_and_nothing_else(stack: Synthesised) -> None:
    (machine,) = stack.resources("AWS::StepFunctions::StateMachine").values()
    role = machine["RoleArn"]["Fn::GetAtt"][0]
    *_, inboxes, artifacts = next(roles(stack))
    gang = keys.GangKeys("r", 12, 3)
    # Else S3 would answer 403 instead of 404 where there is no outcome.
    assert stack.allows(role, "s3:ListBucket", f"arn({artifacts})")
    for action in ("s3:GetObject", "s3:PutObject"):
        assert stack.allows(role, action, f"arn({artifacts})/{gang.outcome}")
        for key in (keys.manifest("r"), keys.commit("r", "initial"), gang.failure(0, 0), "data/x", "outcomes/0-0.json"):
            assert not stack.allows(role, action, f"arn({artifacts})/{key}")
        for bucket in inboxes.values():
            assert not stack.allows(role, action, f"arn({bucket})/{gang.outcome}")


PATTERNS = {"*", "runs/*", "runs/*/segments/*", "runs/*/layers/*", "runs/*/outcomes/*-*.json"}
"""Of an inbox's objects, of executions, and of what the artifact bucket holds besides data."""


def test_no_role_has_a_wildcard_action_or_resource(stack: Synthesised) -> None:
    for role, properties in stack.resources("AWS::IAM::Role").items():
        assert not properties.get("ManagedPolicyArns")
        for statement in stack.statements(role):
            assert statement["Effect"] == "Allow"
            assert not [action for action in listed(statement["Action"]) if "*" in action]
            for resource in map(text, listed(statement["Resource"])):
                whole, _, key = resource.partition("/")
                assert "*" not in whole
                assert "*" not in key or key in PATTERNS or key.startswith("data/"), resource
                assert "*" not in key.removesuffix("*") or key in PATTERNS, resource
                assert resource.startswith("arn(") or "Name(" in resource or resource in stack.template["Resources"]


def test_no_bucket_policy_allows_a_wildcard(stack: Synthesised) -> None:
    policies = stack.resources("AWS::S3::BucketPolicy")
    assert {policy["Bucket"]["Ref"] for policy in policies.values()} == set(stack.resources("AWS::S3::Bucket"))
    for policy in policies.values():
        statements = policy["PolicyDocument"]["Statement"]
        assert [s for s in statements if s["Effect"] == "Deny" and s["Action"] == "s3:*"], "TLS is not enforced"
        for statement in statements:
            if statement["Effect"] == "Allow":
                assert not [action for action in listed(statement["Action"]) if "*" in action]
                assert statement["Principal"] != "*" and statement["Principal"] != {"AWS": "*"}


def test_only_what_the_emptying_needs_is_allowed_to_it(three_stages: Synthesised) -> None:
    """The artifacts are kept in this plan, so the function that empties inboxes must not reach them."""
    _, _, inboxes, artifacts = next(roles(three_stages))
    emptied = {p["BucketName"]["Ref"] for p in three_stages.resources("Custom::S3AutoDeleteObjects").values()}
    assert emptied == set(inboxes.values())
    for policy in three_stages.resources("AWS::S3::BucketPolicy").values():
        allowed = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
        assert bool(allowed) == (policy["Bucket"]["Ref"] != artifacts)


@pytest.mark.parametrize(
    "setting", ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"]
)
def test_no_bucket_is_public(stack: Synthesised, setting: str) -> None:
    for properties in stack.resources("AWS::S3::Bucket").values():
        assert properties["PublicAccessBlockConfiguration"][setting] is True


def test_buckets_are_encrypted_and_forget_unfinished_uploads(stack: Synthesised) -> None:
    *_, artifacts = next(roles(stack))
    for bucket, properties in stack.resources("AWS::S3::Bucket").items():
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        rules = properties["LifecycleConfiguration"]["Rules"]
        assert {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}, "Status": "Enabled"} in rules
        expiring = [rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule]
        assert expiring == ([] if bucket == artifacts else [1])
