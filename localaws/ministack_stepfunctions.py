"""Step Functions of MiniStack 1.5.33: a stopped execution stays stopped, throttling has its AWS name, objects are put.

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
    _put_objects()


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


def _put_objects() -> None:
    """``aws-sdk:s3:putObject`` with a JSON body; MiniStack has no S3 action with a body."""
    dispatch = stepfunctions._dispatch_aws_sdk_rest_xml

    def dispatch_with_put(service: Record, name: str, action: str, parameters: Record) -> object:
        if (name, action) != ("s3", "putObject"):
            return dispatch(service, name, action, parameters)
        if unknown := parameters.keys() - {"Bucket", "Key", "Body", "ContentType"}:
            raise stepfunctions._ExecutionError("States.Runtime", f"putObject: not adapted: {sorted(unknown)}")
        body = json.dumps(parameters["Body"]).encode()
        path = f"/{parameters['Bucket']}/{quote(parameters['Key'])}"
        headers = {"content-type": parameters.get("ContentType", "application/json"), "content-length": str(len(body))}
        headers["host"] = "s3.amazonaws.com"
        status, _headers, answer = app.call_service_handler_sync(
            app.SERVICE_HANDLERS["s3"], "PUT", path, headers, body, {}
        )
        if status >= 300:
            raise stepfunctions._ExecutionError("S3.S3Exception", f"putObject: status {status}: {answer!r}")
        return {}

    stepfunctions._dispatch_aws_sdk_rest_xml = dispatch_with_put
