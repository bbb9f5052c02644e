"""What functions, buckets and workflows of the running emulator do, as AWS clients see it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from localaws.runtime_api import MAX_PAYLOAD_BYTES
from tests.conftest import RunningEmulator
from tests.localaws.waiting import wait_until


def invoke(emulator: RunningEmulator, function: str, **event: Any) -> tuple[str | None, Any]:
    answer = emulator.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    return answer.get("FunctionError"), json.loads(answer["Payload"].read())


def keys(emulator: RunningEmulator, bucket: str) -> set[str]:
    return {item["Key"] for item in emulator.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])}


def messages(emulator: RunningEmulator, group: str) -> list[str]:
    return [event["message"] for event in emulator.client("logs").filter_log_events(logGroupName=group)["events"]]


def test_an_object_is_what_was_put(emulator: RunningEmulator, bucket: str) -> None:
    s3 = emulator.client("s3")
    body = bytes(range(256)) * 4096
    s3.put_object(Bucket=bucket, Key="a/b", Body=body)
    assert s3.get_object(Bucket=bucket, Key="a/b")["Body"].read() == body
    assert s3.get_object(Bucket=bucket, Key="a/b", Range="bytes=255-257")["Body"].read() == b"\xff\x00\x01"
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="a")


def test_of_many_conditional_puts_one_wins(emulator: RunningEmulator, bucket: str) -> None:
    s3 = emulator.client("s3")

    def put(writer: int) -> bool:
        try:
            s3.put_object(Bucket=bucket, Key="once", Body=str(writer).encode(), IfNoneMatch="*")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412)
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(put, range(16)))
    assert won.count(True) == 1
    assert s3.get_object(Bucket=bucket, Key="once")["Body"].read() == str(won.index(True)).encode()


def test_errors_of_a_handler_have_their_class(emulator: RunningEmulator, function: str) -> None:
    assert invoke(emulator, function, do="echo", text="hello")[1]["text"] == "hello"
    kind, body = invoke(emulator, function, do="fail")
    assert (kind, body["errorType"]) == ("Unhandled", "ValueError")
    kind, body = invoke(emulator, function, do="leave", status=4)
    assert (kind, body["errorType"]) == ("Unhandled", "Runtime.ExitError")


def test_log_lines_are_in_the_configured_group(emulator: RunningEmulator, function: str) -> None:
    invoke(emulator, function, do="echo", text="hello")
    lines = messages(emulator, f"/logs/{function}")
    assert "echo hello" in lines
    assert any(re.search(r"^REPORT RequestId: .*Billed Duration: \d+ ms\t.*Max Memory Used: \d+ MB", x) for x in lines)
    groups = emulator.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{function}")["logGroups"]
    assert groups == []


def test_a_request_that_is_too_large(emulator: RunningEmulator, function: str) -> None:
    with pytest.raises(ClientError, match="RequestTooLargeException"):
        invoke(emulator, function, do="echo", text="x" * MAX_PAYLOAD_BYTES)


def test_reserved_concurrency_throttles(emulator: RunningEmulator, function: str, bucket: str) -> None:
    functions, s3 = emulator.client("lambda"), emulator.client("s3")
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(
            invoke, emulator, function, do="await_object", bucket=bucket, arrived="here", released="go"
        )
        wait_until(lambda: "here" in keys(emulator, bucket), "the first invocation has begun")
        with pytest.raises(functions.exceptions.TooManyRequestsException):
            invoke(emulator, function, do="echo", text="second")
        s3.put_object(Bucket=bucket, Key="go")
        assert held.result() == (None, "released")


def test_a_published_version_stays_as_it_was_and_an_alias_moves(emulator: RunningEmulator, function: str) -> None:
    functions = emulator.client("lambda")

    def published(colour: str) -> str:
        variables = {"Variables": {"COLOUR": colour}}
        functions.update_function_configuration(FunctionName=function, Environment=variables)
        return functions.publish_version(FunctionName=function)["Version"]

    def seen(qualifier: str) -> tuple[str, str]:
        answer = functions.invoke(FunctionName=function, Qualifier=qualifier, Payload=b'{"do": "environment"}')
        told = json.loads(answer["Payload"].read())
        return told["AWS_LAMBDA_FUNCTION_VERSION"], told["COLOUR"]

    first = published("red")
    functions.create_alias(FunctionName=function, Name="live", FunctionVersion=first)
    assert seen("live") == (first, "red")
    second = published("blue")
    assert (seen("live"), seen(second), seen("$LATEST")) == ((first, "red"), (second, "blue"), ("$LATEST", "blue"))
    functions.update_alias(FunctionName=function, Name="live", FunctionVersion=second)
    assert seen("live") == (second, "blue")
    streams = emulator.client("logs").describe_log_streams(logGroupName=f"/logs/{function}")["logStreams"]
    found = [re.fullmatch(rf"\d{{4}}/\d\d/\d\d/{function}\[(.+)\]\w+", s["logStreamName"]) for s in streams]
    assert {match[1] for match in found if match} == {first, second, "$LATEST"} and all(found)
    assert f"Version: {second}" in "".join(messages(emulator, f"/logs/{function}"))


def test_versions_share_their_functions_reserved_concurrency(emulator: RunningEmulator, function: str) -> None:
    functions = emulator.client("lambda")
    version = functions.publish_version(FunctionName=function)["Version"]
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    with pytest.raises(functions.exceptions.TooManyRequestsException):
        functions.invoke(FunctionName=function, Qualifier=version)
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    assert invoke(emulator, f"{function}:{version}", do="echo", text="x")[1]["text"] == "x"


def test_what_runs_of_a_version_goes_on_while_its_function_is_changed(
    emulator: RunningEmulator, function: str, bucket: str
) -> None:
    functions, s3 = emulator.client("lambda"), emulator.client("s3")
    version = functions.publish_version(FunctionName=function)["Version"]
    event = {"do": "await_object", "bucket": bucket, "arrived": "here", "released": "go"}
    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(invoke, emulator, f"{function}:{version}", **event)
        wait_until(lambda: "here" in keys(emulator, bucket), "the invocation has begun")
        functions.update_function_configuration(FunctionName=function, MemorySize=640)
        s3.put_object(Bucket=bucket, Key="go")
        assert held.result() == (None, "released")


def test_deleting_a_function_ends_it_and_its_log(emulator: RunningEmulator, function: str, bucket: str) -> None:
    logs = emulator.client("logs")
    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(
            invoke, emulator, function, do="await_object", bucket=bucket, arrived="here", released="never"
        )
        wait_until(lambda: "here" in keys(emulator, bucket), "the invocation has begun")
        emulator.client("lambda").delete_function(FunctionName=function)
        logs.delete_log_group(logGroupName=f"/logs/{function}")
        kind, body = held.result()
    assert (kind, body["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert logs.describe_log_groups(logGroupNamePrefix=f"/logs/{function}")["logGroups"] == []


@pytest.fixture
def machine(emulator: RunningEmulator, function: str, bucket: str) -> str:
    """One Map of two workers that wait for the object "go" and then fail, tried three times."""
    worker = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {
            "FunctionName": function,
            "Payload": {
                "do": "await_object",
                "bucket": bucket,
                "arrived.$": "States.Format('arrived/{}', States.UUID())",
                "released": "go",
                "fail": True,
            },
        },
        "End": True,
    }
    workers = {
        "Type": "Map",
        "ItemsPath": "$.replicas",
        "ItemProcessor": {"StartAt": "Worker", "States": {"Worker": worker}},
        "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1}],
        "End": True,
    }
    return emulator.client("stepfunctions").create_state_machine(
        name=f"machine-{uuid4()}",
        definition=json.dumps({"StartAt": "Workers", "States": {"Workers": workers}}),
        roleArn=f"arn:aws:iam::{emulator.account}:role/workflow",
    )["stateMachineArn"]


def start(emulator: RunningEmulator, machine: str) -> str:
    states = emulator.client("stepfunctions")
    return states.start_execution(stateMachineArn=machine, input='{"replicas": [0, 1]}')["executionArn"]


def test_an_execution_fails_with_the_workers_error(emulator: RunningEmulator, machine: str, bucket: str) -> None:
    emulator.client("s3").put_object(Bucket=bucket, Key="go")
    states, execution = emulator.client("stepfunctions"), start(emulator, machine)
    wait_until(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING", "it ends")
    ended = states.describe_execution(executionArn=execution)
    assert (ended["status"], ended["error"]) == ("FAILED", "ValueError")
    assert json.loads(ended["cause"])["errorMessage"] == "told to fail"
    arrivals = [key for key in keys(emulator, bucket) if key.startswith("arrived/")]
    assert len(arrivals) == 2 * 3, "both workers, in each of three tries"


def test_a_stopped_execution_stays_stopped(emulator: RunningEmulator, machine: str, bucket: str, function: str) -> None:
    states, execution = emulator.client("stepfunctions"), start(emulator, machine)
    wait_until(lambda: len(keys(emulator, bucket)) == 2, "both workers have begun")
    states.stop_execution(executionArn=execution, error="Stopped", cause="by the test")
    stopped = states.describe_execution(executionArn=execution)
    assert (stopped["status"], stopped["error"], stopped["cause"]) == ("ABORTED", "Stopped", "by the test")
    # As on AWS, its functions run on; what they end with changes nothing, and nothing is tried again.
    emulator.client("s3").put_object(Bucket=bucket, Key="go")
    reports = f"/logs/{function}"
    wait_until(lambda: sum("REPORT" in line for line in messages(emulator, reports)) == 2, "both workers have ended")
    probe = start(emulator, machine)
    wait_until(
        lambda: states.describe_execution(executionArn=probe)["status"] == "FAILED", "a later one takes its tries"
    )
    assert states.describe_execution(executionArn=execution)["status"] == "ABORTED"
    arrivals = [key for key in keys(emulator, bucket) if key.startswith("arrived/")]
    assert len(arrivals) == 2 + 2 * 3, "two of the stopped execution, six of the later one"


def test_throttling_has_its_name_in_a_workflow(emulator: RunningEmulator, function: str) -> None:
    emulator.client("lambda").put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": function}}
    states = emulator.client("stepfunctions")
    machine = states.create_state_machine(
        name=f"machine-{uuid4()}",
        definition=json.dumps({"StartAt": "Task", "States": {"Task": {**task, "End": True}}}),
        roleArn=f"arn:aws:iam::{emulator.account}:role/workflow",
    )["stateMachineArn"]
    execution = start(emulator, machine)
    wait_until(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING", "it ends")
    assert states.describe_execution(executionArn=execution)["error"] == "Lambda.TooManyRequestsException"
