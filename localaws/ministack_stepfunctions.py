"""Step Functions of MiniStack 1.5.33: a stopped execution stays stopped, throttling has its AWS name, objects are put
and got.

Not mended, and so never to be relied on: Parallel and Map wait for all branches after one has failed, time-outs and
heartbeats of states are not kept, payloads above 256 KiB pass.
"""

import json
from typing import Any
from urllib.parse import quote

from ministack import app
from ministack.services import stepfunctions

from localaws.ministack_version import require_adapted_version

Record = dict[str, Any]


def install() -> None:
    """Puts the adapter in place."""
    require_adapted_version()
    _keep_stopped()
    _name_throttling()
    _put_and_get_objects()


def _keep_stopped() -> None:
    run, fail = stepfunctions._run_sub_machine, stepfunctions._fail_execution

    def run_unless_stopped(states: Record, start_at: str, data: object, execution: Record, context: Record) -> object:
        """A retry of a Parallel or Map would otherwise begin its branches again."""
        parent = stepfunctions._map_runs.get(execution.get("mapRunArn"))
        top = stepfunctions._executions.get(parent["executionArn"]) if parent else execution
        if top is not None and top["status"] != "RUNNING":
            raise stepfunctions._ExecutionError("States.Runtime", "the execution was stopped")
        return run(states, start_at, data, execution, context)

    def fail_if_running(execution: Record, error: str, cause: str) -> None:
        """A branch that ends after StopExecution must not turn ABORTED into FAILED."""
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    stepfunctions._run_sub_machine = run_unless_stopped
    stepfunctions._fail_execution = fail_if_running


def _name_throttling() -> None:
    call = stepfunctions._call_lambda

    def call_with_names(function: str, event: object) -> object:
        try:
            return call(function, event)
        except stepfunctions._ExecutionError as error:
            if error.error == "Lambda.Unknown" and "TooManyRequestsException" in error.cause:
                raise stepfunctions._ExecutionError("Lambda.TooManyRequestsException", error.cause) from None
            raise

    stepfunctions._call_lambda = call_with_names


def _put_and_get_objects() -> None:
    """``aws-sdk:s3:putObject`` with a JSON body, and ``getObject`` of text; MiniStack has no S3 action with a body."""
    dispatch = stepfunctions._dispatch_aws_sdk_rest_xml

    def dispatch_with_objects(service: Record, name: str, action: str, parameters: Record) -> object:
        if name == "s3" and action in _OBJECT_FIELDS:
            return _object(action, parameters)
        return dispatch(service, name, action, parameters)

    stepfunctions._dispatch_aws_sdk_rest_xml = dispatch_with_objects


_OBJECT_FIELDS = {
    "getObject": {"Bucket", "Key"},
    "putObject": {"Bucket", "Key", "Body", "ContentType", "IfNoneMatch"},
}


def _object(action: str, parameters: Record) -> Record:
    if unknown := parameters.keys() - _OBJECT_FIELDS[action]:
        raise stepfunctions._ExecutionError("States.Runtime", f"{action}: not adapted: {sorted(unknown)}")
    body = json.dumps(parameters["Body"]).encode() if action == "putObject" else b""
    headers = {"host": "s3.amazonaws.com", "content-length": str(len(body))}
    headers["content-type"] = parameters.get("ContentType", "application/json")
    if "IfNoneMatch" in parameters:
        headers["if-none-match"] = parameters["IfNoneMatch"]
    status, _headers, answer = app.call_service_handler_sync(
        app.SERVICE_HANDLERS["s3"],
        action.removesuffix("Object").upper(),
        f"/{parameters['Bucket']}/{quote(parameters['Key'])}",
        headers,
        body,
        {},
    )
    if status >= 300:
        missing = action == "getObject" and status == 404 and b"NoSuchKey" in bytes(answer)
        error = "S3.NoSuchKeyException" if missing else "S3.S3Exception"
        raise stepfunctions._ExecutionError(error, f"{action}: status {status}: {answer!r}")
    return {"Body": bytes(answer).decode()} if action == "getObject" else {}
