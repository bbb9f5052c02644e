import json
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from botocore.stub import Stubber

from launch.deployment import (
    Deployment,
    describe_execution,
    find_deployment,
    stage_functions,
    start_execution,
    stop_execution,
)
from runtime.errors import FuncpipeError, UserInputError
from tests.manifests import make_manifest

MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:Workflow"
EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:Workflow:first"
PATH = "plans/manifest.json"
STARTED_WITH = '{"run": "first", "segment": 0, "attempt": 0, "commit": "initial"}'
CONTINUED = EXECUTION + "_130_0"


@pytest.fixture
def stubbed():
    """A real client whose requests and answers are checked against AWS's service model."""
    stubbers = []

    def make(service: str) -> tuple[object, Stubber]:
        client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        stubber = Stubber(client)
        stubber.activate()
        stubbers.append(stubber)
        return client, stubber

    yield make
    for stubber in stubbers:
        stubber.assert_no_pending_responses()


def described(status: str = "CREATE_COMPLETE", **outputs: str) -> dict:
    return {
        "Stacks": [
            {
                "StackName": "funcpipe-example",
                "CreationTime": datetime(2027, 1, 1, tzinfo=UTC),
                "StackStatus": status,
                "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
            }
        ]
    }


def outputs(manifest) -> dict[str, str]:
    return {"ArtifactBucket": "bucket", "StateMachineArn": MACHINE, "ManifestSha256": manifest.sha256}


def find(stubbed, answer: dict, manifest, stack: str | None = None) -> Deployment:
    client, stubber = stubbed("cloudformation")
    stubber.add_response("describe_stacks", answer, {"StackName": stack or "funcpipe-example"})
    return find_deployment(manifest, PATH, stack, cloudformation=client)


def test_a_deployed_stack_is_found_by_the_jobs_name(stubbed):
    manifest = make_manifest()
    found = find(stubbed, described(**outputs(manifest)), manifest)
    assert found == Deployment("funcpipe-example", "bucket", MACHINE)
    assert found.artifacts_url == "s3://bucket"
    assert found.region == "us-east-1"
    assert found.execution_arn("first") == EXECUTION


def test_a_stack_that_is_not_there_is_answered_with_the_deploy_command(stubbed):
    client, stubber = stubbed("cloudformation")
    stubber.add_client_error("describe_stacks", "ValidationError", "Stack with id other does not exist")
    with pytest.raises(UserInputError) as caught:
        find_deployment(make_manifest(), PATH, "other", cloudformation=client)
    assert "stack 'other' is not deployed" in str(caught.value)
    assert f"npx cdk deploy -c manifest={PATH} -c stack=other" in str(caught.value)
    stubber.add_client_error("describe_stacks", "ValidationError", "Stack with id other does not exist")
    with pytest.raises(UserInputError, match=r"funcpipe local exec -- npx cdk deploy .* -c packaging=zip"):
        find_deployment(make_manifest(), PATH, "other", embedded=True, cloudformation=client)


def test_a_stack_of_another_plan_is_answered_with_both_hashes_and_diff(stubbed):
    manifest, other = make_manifest(), make_manifest(memory_mb=2048)
    with pytest.raises(UserInputError) as caught:
        find(stubbed, described(**outputs(other)), manifest)
    message = str(caught.value)
    assert other.sha256[:12] in message and manifest.sha256[:12] in message
    assert f"npx cdk diff -c manifest={PATH}" in message and f"npx cdk deploy -c manifest={PATH}" in message


@pytest.mark.parametrize("status", ["CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_IN_PROGRESS", "UPDATE_FAILED"])
def test_a_stack_in_no_usable_state_is_refused(stubbed, status):
    manifest = make_manifest()
    with pytest.raises(UserInputError, match=status):
        find(stubbed, described(status, **outputs(manifest)), manifest)


def test_a_stack_of_something_else_is_refused(stubbed):
    with pytest.raises(UserInputError, match="'mine' is no funcpipe stack: it has no output 'ArtifactBucket'"):
        find(stubbed, described(Endpoint="x"), make_manifest(), "mine")


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("ExpiredToken", UserInputError, "refused the credentials"),
        ("AccessDenied", FuncpipeError, "denied"),
        ("Throttling", FuncpipeError, "DescribeStacks: Throttling"),
    ],
)
def test_other_refusals_come_out_in_words(stubbed, code, kind, said):
    client, stubber = stubbed("cloudformation")
    stubber.add_client_error("describe_stacks", code, "because")
    with pytest.raises(kind, match=said) as caught:
        find_deployment(make_manifest(), PATH, cloudformation=client)
    assert type(caught.value) is kind


class Unreachable:
    """A client whose every request raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def describe_stacks(self, **_: str) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (NoCredentialsError(), UserInputError, "no AWS credentials.*--local"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), FuncpipeError, "127.0.0.1:1.*funcpipe local"),
    ],
)
def test_no_way_to_aws_comes_out_in_words(error, kind, said):
    with pytest.raises(kind, match=said):
        find_deployment(make_manifest(), PATH, cloudformation=Unreachable(error))


def test_an_execution_is_named_after_its_run(stubbed):
    client, stubber = stubbed("stepfunctions")
    stubber.add_response(
        "start_execution",
        {"executionArn": EXECUTION, "startDate": datetime(2027, 1, 1, tzinfo=UTC)},
        {"stateMachineArn": MACHINE, "name": "first", "input": STARTED_WITH},
    )
    assert start_execution(Deployment("s", "b", MACHINE), "first", states=client) == EXECUTION


def test_a_name_that_was_used_is_the_users_mistake(stubbed):
    client, stubber = stubbed("stepfunctions")
    stubber.add_client_error("start_execution", "ExecutionAlreadyExists", "exists")
    with pytest.raises(UserInputError, match="run id 'first' has been used on stack 's'"):
        start_execution(Deployment("s", "b", MACHINE), "first", states=client)


def execution(stubbed, **answer) -> object:
    client, stubber = stubbed("stepfunctions")
    started = datetime(2027, 1, 1, tzinfo=UTC)
    base = {"executionArn": EXECUTION, "stateMachineArn": MACHINE, "startDate": started}
    stubber.add_response("describe_execution", {**base, **answer}, {"executionArn": EXECUTION})
    return describe_execution(EXECUTION, states=client)


def test_a_running_execution_has_no_ending(stubbed):
    assert execution(stubbed, status="RUNNING").ending() is None


def test_a_failed_execution_tells_error_and_cause(stubbed):
    ending = execution(stubbed, status="FAILED", error="WorkerFailed", cause="stage 1").ending()
    assert not ending.succeeded and not ending.stopped
    assert ending.message == "execution FAILED: WorkerFailed: stage 1"


def test_ends_of_executions(stubbed):
    assert execution(stubbed, status="SUCCEEDED").ending().succeeded
    assert execution(stubbed, status="ABORTED").ending().stopped
    assert not execution(stubbed, status="TIMED_OUT").ending().succeeded


def test_no_such_execution_is_none_and_stopping_it_is_no_error(stubbed):
    client, stubber = stubbed("stepfunctions")
    stubber.add_client_error("describe_execution", "ExecutionDoesNotExist")
    stubber.add_client_error("stop_execution", "ExecutionDoesNotExist")
    assert describe_execution(EXECUTION, states=client) is None
    stop_execution(EXECUTION, "enough", states=client)


def goes_on_in_another(stubber, status: str) -> None:
    base = {"stateMachineArn": MACHINE}
    output = json.dumps({"run": "first", "continued": {"ExecutionArn": CONTINUED}})
    first = {**base, "executionArn": EXECUTION, "startDate": datetime(2027, 1, 1, tzinfo=UTC), "status": "SUCCEEDED"}
    last = {**base, "executionArn": CONTINUED, "startDate": datetime(2027, 1, 9, tzinfo=UTC), "status": status}
    stubber.add_response("describe_execution", {**first, "output": output}, {"executionArn": EXECUTION})
    stubber.add_response("describe_execution", last, {"executionArn": CONTINUED})


def test_a_run_that_goes_on_in_another_execution_runs(stubbed):
    client, stubber = stubbed("stepfunctions")
    goes_on_in_another(stubber, "RUNNING")
    found = describe_execution(EXECUTION, states=client)
    assert found.running and found.started_at.day == 1


def test_stopping_a_run_stops_the_execution_in_which_it_goes_on(stubbed):
    client, stubber = stubbed("stepfunctions")
    ended = {"stopDate": datetime(2027, 1, 10, tzinfo=UTC)}
    base = {"stateMachineArn": MACHINE, "startDate": datetime(2027, 1, 1, tzinfo=UTC)}
    output = json.dumps({"continued": {"ExecutionArn": CONTINUED}})
    told = {"error": "stopped", "cause": "enough"}
    stubber.add_response("stop_execution", ended, {"executionArn": EXECUTION, **told})
    first = {**base, "executionArn": EXECUTION, "status": "SUCCEEDED", "output": output}
    stubber.add_response("describe_execution", first, {"executionArn": EXECUTION})
    stubber.add_response("stop_execution", ended, {"executionArn": CONTINUED, **told})
    last = {**base, "executionArn": CONTINUED, "status": "ABORTED"}
    stubber.add_response("describe_execution", last, {"executionArn": CONTINUED})
    stop_execution(EXECUTION, "enough", states=client)
    stubber.assert_no_pending_responses()


def test_stage_functions_are_those_with_a_stage_in_order(stubbed):
    cloudformation, stacks = stubbed("cloudformation")
    functions, lambdas = stubbed("lambda")
    resources = [
        ("AWS::S3::Bucket", "b"),
        *(("AWS::Lambda::Function", name) for name in ("second", "emptier", "first")),
    ]
    stacks.add_response(
        "list_stack_resources",
        {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": name,
                    "PhysicalResourceId": name,
                    "ResourceType": kind,
                    "LastUpdatedTimestamp": datetime(2027, 1, 1, tzinfo=UTC),
                    "ResourceStatus": "CREATE_COMPLETE",
                }
                for kind, name in resources
            ]
        },
        {"StackName": "s"},
    )
    for name, variables in (("second", {"FUNCPIPE_STAGE": "1"}), ("emptier", {}), ("first", {"FUNCPIPE_STAGE": "0"})):
        configuration = {"FunctionName": name, "MemorySize": 1024, "Environment": {"Variables": variables}}
        if name == "first":
            configuration["LoggingConfig"] = {"LogGroup": "logs-of-first"}
        lambdas.add_response("get_function_configuration", configuration, {"FunctionName": name})
    found = stage_functions("s", cloudformation=cloudformation, functions=functions)
    assert [(f.stage, f.name, f.log_group) for f in found] == [
        (0, "first", "logs-of-first"),
        (1, "second", "/aws/lambda/second"),
    ]
