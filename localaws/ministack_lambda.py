"""Lambda functions of MiniStack 1.5.33, run in our execution environments.

Python functions go to the pool. Node functions (CDK's own custom resources) stay with MiniStack's worker, which knows
how to deliver their answers to its CloudFormation. Other gaps closed here: ReservedConcurrentExecutions of a template,
the size limit of a request, processes of a function that CloudFormation deletes, and late log lines of a deleted
function, which would make its log group anew.
"""

import io
import json
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from localaws.execution_environment import FunctionVersion
from localaws.ministack_version import require_adapted_version
from localaws.pool import Pool
from localaws.runtime_api import MAX_PAYLOAD_BYTES, error_outcome

MAX_ASYNC_PAYLOAD_BYTES = 1_048_576
"""docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, 2026-11-21."""

Record = dict[str, Any]


def install(pool: Pool, code_folder: Path, endpoint: str) -> None:
    """Puts the adapter in place. ``code_folder`` receives unpacked code; functions reach AWS at ``endpoint``."""
    require_adapted_version()
    _run_in_pool(pool, CodeFolder(code_folder), endpoint)
    _end_processes(pool)
    _keep_log_groups_deleted()
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


def _run_in_pool(pool: Pool, code: CodeFolder, endpoint: str) -> None:
    dispatch = lambda_svc._execute_function_dispatch

    def dispatch_in_pool(func: Record, config: Record, event: object, request_id: str, started: float) -> Record:
        if config.get("PackageType") == "Image":
            outcome = error_outcome(
                "Runtime.InvalidImage", "The local emulator runs no images: deploy with -c packaging=zip instead."
            )
            log = []
        elif config.get("Runtime", "").startswith("python"):
            payload = json.dumps(event, ensure_ascii=False).encode()
            result = pool.invoke(function_version(func, config, code, endpoint), payload, request_id)
            outcome, log = result.outcome, result.log
        else:
            return dispatch(func, config, event, request_id, started)
        text = "\n".join(log)
        duration_ms = int((time.time() - started) * 1000)
        lambda_svc._emit_lambda_logs(func, request_id, text, outcome.failed, duration_ms, log_source="rie")
        answer: Record = {"body": _parsed(outcome.body), "log": text}
        return {**answer, "error": True} if outcome.failed else answer

    lambda_svc._execute_function_dispatch = dispatch_in_pool


def function_version(func: Record, config: Record, code: CodeFolder, endpoint: str) -> FunctionVersion:
    """MiniStack's record of a function as what our environments are made from."""
    name, arn = config["FunctionName"], config["FunctionArn"]
    region = arn.split(":")[3]
    variables = {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
        "AWS_LAMBDA_LOG_GROUP_NAME": config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"[$LATEST]{config['CodeSha256'][:8]}",
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
        """Called by MiniStack when a function's code or settings change, and when it is deleted by the Lambda API."""
        pool.drop(lambda function: function.name == func_name)
        invalidate(func_name, *args, **kwargs)

    lambda_svc.invalidate_worker = invalidate_everywhere
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    delete = handlers["delete"]

    def delete_with_processes(physical_id: str, properties: Record) -> None:
        delete(physical_id, properties)
        invalidate_everywhere(physical_id)

    handlers["delete"] = delete_with_processes


def _keep_log_groups_deleted() -> None:
    emit = lambda_svc._emit_lambda_logs

    def emit_for_existing(func: Record, *args: Any, **kwargs: Any) -> None:
        if (func.get("config") or func).get("FunctionName") in lambda_svc._functions:
            emit(func, *args, **kwargs)

    lambda_svc._emit_lambda_logs = emit_for_existing


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
