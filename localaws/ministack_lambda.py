"""Lambda functions of MiniStack 1.5.33, run in our execution environments.

Python functions go to the pool. Node functions (CDK's own custom resources) stay with MiniStack's worker, which knows
how to deliver their answers to its CloudFormation. Other gaps closed here: ReservedConcurrentExecutions of a template,
and of a function's published versions; versions that go on while the function is changed; the size limit of a request;
processes of a function that CloudFormation deletes; names of log streams, and late log lines of a deleted function,
which would make its log group anew.
"""

import io
import json
import os
import threading
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ministack.core.responses import error_response_json
from ministack.services import cloudwatch_logs, lambda_svc
from ministack.services.cloudformation import provisioners

from localaws.execution_environment import FunctionVersion, Result
from localaws.faults import Action, Faults
from localaws.ministack_version import require_adapted_version
from localaws.pool import Pool
from localaws.runtime_api import MAX_PAYLOAD_BYTES, error_outcome

MAX_ASYNC_PAYLOAD_BYTES = 1_048_576
"""docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, 2026-11-21."""

CLOCK = Path(__file__).parent / "clock"
"""Holds what gives a Python process a wrong wall clock."""

Record = dict[str, Any]


def install(pool: Pool, code_folder: Path, endpoint: str, faults: Faults) -> None:
    """Puts the adapter in place.

    Args:
        code_folder: receives unpacked code.
        endpoint: functions reach AWS there.
        faults: what invocations meet.
    """
    require_adapted_version()
    _run_in_pool(pool, CodeFolder(code_folder), endpoint, faults)
    _end_processes(pool)
    _limit_requests()
    _reserve_concurrency()


class CodeFolder:
    """Deployment packages, unpacked once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def unpacked(self, sha256: str, package: bytes) -> Path:
        """The folder with the files of ``package``, whose digest in base 64 is ``sha256``."""
        target = self._folder / sha256.replace("/", "_").rstrip("=")
        with self._lock:
            if not target.is_dir():
                unfinished = target.with_suffix(".unfinished")
                with zipfile.ZipFile(io.BytesIO(package)) as archive:
                    archive.extractall(unfinished)
                unfinished.rename(target)
        return target


def _run_in_pool(pool: Pool, code: CodeFolder, endpoint: str, faults: Faults) -> None:
    dispatch = lambda_svc._execute_function_dispatch

    def dispatch_in_pool(func: Record, config: Record, event: object, request_id: str, started: float) -> Record:
        if config.get("PackageType") == "Image":
            outcome = error_outcome(
                "Runtime.InvalidImage", "The local emulator runs no images: deploy with -c packaging=zip instead."
            )
            log: list[str] = []
        elif config.get("Runtime", "").startswith("python"):
            payload = json.dumps(event, ensure_ascii=False).encode()
            result = _invoke(pool, function_version(func, config, code, endpoint), payload, request_id, faults)
            outcome, log = result.outcome, result.log
        else:
            return dispatch(func, config, event, request_id, started)
        _write_log(config, log)
        answer: Record = {"body": _parsed(outcome.body), "log": "\n".join(log)}
        return {**answer, "error": True} if outcome.failed else answer

    lambda_svc._execute_function_dispatch = dispatch_in_pool


def _invoke(pool: Pool, function: FunctionVersion, payload: bytes, request_id: str, faults: Faults) -> Result:
    """Runs the function; with the faults that are due to it."""
    rule = faults.run(function.name) if faults.armed else None
    if rule is None:
        return pool.invoke(function, payload, request_id)
    if rule.action is Action.SHIFT_CLOCK:
        return pool.invoke(_with_clock(function, rule.seconds), payload, request_id)
    return _twice(pool, function, payload, request_id)[rule.answer % 2].result()


def _twice(pool: Pool, function: FunctionVersion, payload: bytes, request_id: str) -> list["Future[Result]"]:
    """Two invocations at once, of two environments: the first one's is an idle one, if there is any."""
    first_has_one, both_have_one = threading.Event(), threading.Barrier(2)

    def first_takes() -> None:
        first_has_one.set()
        both_have_one.wait()

    both = ThreadPoolExecutor(2)
    first = both.submit(pool.invoke, function, payload, request_id, first_takes)
    first.add_done_callback(lambda _: first_has_one.set())  # also where the event was refused
    first_has_one.wait()
    second = both.submit(pool.invoke, function, payload, str(uuid4()), both_have_one.wait)
    both.shutdown(wait=False)  # the one that does not count may go on for long
    return [first, second]


def _with_clock(function: FunctionVersion, ahead_s: float) -> FunctionVersion:
    """The function as one whose environments, which no other shares, have a wrong wall clock."""
    path = f"{function.code}{os.pathsep}{CLOCK}"
    wrong = {"LOCALAWS_CLOCK_SHIFT_S": str(ahead_s), "PYTHONPATH": path}
    return replace(function, variables=tuple(sorted({**dict(function.variables), **wrong}.items())))


def function_version(func: Record, config: Record, code: CodeFolder, endpoint: str) -> FunctionVersion:
    """MiniStack's record of a function as what our environments are made from."""
    name, arn, version = config["FunctionName"], config["FunctionArn"], config["Version"]
    region = arn.split(":")[3]
    variables = {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
        "AWS_LAMBDA_LOG_GROUP_NAME": config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{name}[{version}]{config['CodeSha256'][:8]}",
        **lambda_svc.execution_credentials(config),
        **lambda_svc._runtime_env_vars(config),
    }
    return FunctionVersion(
        name=name,
        arn=arn,
        handler=config["Handler"],
        code=code.unpacked(config["CodeSha256"], func["code_zip"]),
        memory_mb=int(config.get("MemorySize", 128)),
        timeout_s=float(config.get("Timeout", 3)),
        version=version,
        variables=tuple(sorted((key, str(value)) for key, value in variables.items())),
    )


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _end_processes(pool: Pool) -> None:
    invalidate = lambda_svc.invalidate_worker

    def invalidate_everywhere(func_name: str, *args: Any, **kwargs: Any) -> None:
        """Called by MiniStack when a function's code or settings change, and when it is deleted by the Lambda API.

        A change is of $LATEST alone: what is published does not change, and what runs of it goes on.
        """
        deleted = func_name not in lambda_svc._functions
        pool.drop(lambda function: function.name == func_name and (deleted or function.version == "$LATEST"))
        invalidate(func_name, *args, **kwargs)

    lambda_svc.invalidate_worker = invalidate_everywhere
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    delete = handlers["delete"]

    def delete_with_processes(physical_id: str, properties: Record) -> None:
        delete(physical_id, properties)
        invalidate_everywhere(physical_id)

    handlers["delete"] = delete_with_processes
    versions = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Version"]
    delete_version = versions["delete"]

    def delete_version_with_processes(physical_id: str, properties: Record) -> None:
        """A deployment deletes a version when the next one is there; what runs of it comes to its end."""
        delete_version(physical_id, properties)
        name, version = physical_id.split(":")[-2:]
        pool.drop(lambda function: (function.name, function.version) == (name, version), busy=False)

    versions["delete"] = delete_version_with_processes


def _write_log(config: Record, lines: list[str]) -> None:
    """In a stream named as AWS names them: in a group of one's own choice, the function's name is in it.

    Not for a function that was deleted meanwhile: its log group would be made anew.
    (docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html, read 2026-11-26)
    """
    name, now = config["FunctionName"], datetime.now(UTC)
    if name not in lambda_svc._functions:
        return
    default = f"/aws/lambda/{name}"
    group = config.get("LoggingConfig", {}).get("LogGroup") or default
    stream = f"{now:%Y/%m/%d}/{'' if group == default else name}[{config['Version']}]{uuid4().hex}"
    place = {"logGroupName": group, "logStreamName": stream}
    events = [{"timestamp": int(now.timestamp() * 1000), "message": line} for line in lines]
    cloudwatch_logs._create_log_group({"logGroupName": group})  # answers that it is there, if it is
    cloudwatch_logs._create_log_stream(place)
    cloudwatch_logs._put_log_events({**place, "logEvents": events})


def _limit_requests() -> None:
    invoke = lambda_svc._invoke

    async def invoke_within_limit(name: str, event: object, headers: dict[str, str], *args: Any, **kwargs: Any) -> Any:
        kind = {key.lower(): value for key, value in headers.items()}.get("x-amz-invocation-type")
        limit = MAX_ASYNC_PAYLOAD_BYTES if kind == "Event" else MAX_PAYLOAD_BYTES
        size = len(json.dumps(event, ensure_ascii=False).encode())
        if size > limit:
            message = f"{size} byte payload is too large for this invocation type (limit: {limit} bytes)"
            return error_response_json("RequestTooLargeException", message, 413)
        return await invoke(name, event, headers, *args, **kwargs)

    lambda_svc._invoke = invoke_within_limit


def _reserve_concurrency() -> None:
    reserved_concurrency = lambda_svc._reserved_concurrency

    def reserved_by_function(func: Record, config: Record) -> Any:
        """MiniStack looks for it at what is run, where a published version has none."""
        return reserved_concurrency(lambda_svc._functions.get(config["FunctionName"], func), config)

    lambda_svc._reserved_concurrency = reserved_by_function
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = handlers["create"], handlers["update"]

    def reserve(answer: Any, properties: Record) -> Any:
        reserved = properties.get("ReservedConcurrentExecutions")
        lambda_svc._functions[answer[0]]["concurrency"] = None if reserved is None else int(reserved)
        return answer

    def create_reserved(logical_id: str, properties: Record, *rest: Any) -> Any:
        return reserve(create(logical_id, properties, *rest), properties)

    def update_reserved(physical_id: str, old: Record, new: Record, *rest: Any) -> Any:
        return reserve(update(physical_id, old, new, *rest), new)

    handlers.update(create=create_reserved, update=update_reserved)
