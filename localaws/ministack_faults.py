"""Faults in MiniStack 1.5.33: at the front of its S3, and where its Step Functions invoke functions.

Only requests of functions are struck, which the runtime client's mark in the user agent tells. ``/_localaws/faults``
arms rules (PUT, a JSON list) and tells what they have done (GET).
"""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from ministack import app
from ministack.services import stepfunctions

from localaws.faults import Action, Faults, Rule
from localaws.ministack_version import require_adapted_version
from localaws.pool import Pool

PATH = "/_localaws/faults"
_FUNCTIONS_MARK = "exec-env/AWS_Lambda"
_LONGEST_ORPHAN_S = 60.0
Record = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]


def install(faults: Faults, pool: Pool) -> None:
    """Puts the adapter in place."""
    require_adapted_version()
    _serve_control(faults)
    _strike_requests(faults, pool)
    _throttle_invocations(faults)


def _serve_control(faults: Faults) -> None:
    inner = app.app

    async def with_control(scope: Record, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope.get("path") != PATH:
            await inner(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, answer = 200, {}
        if scope["method"] == "PUT":
            try:
                faults.arm([Rule.parse(item) for item in json.loads(body)])
            except ValueError as error:
                status, answer = 400, {"error": str(error)}
        else:
            answer = faults.report()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    app.app = with_control


def _strike_requests(faults: Faults, pool: Pool) -> None:
    handle = app.SERVICE_HANDLERS["s3"]

    async def handle_struck(method: str, path: str, headers: Record, body: bytes, query: Any) -> Any:
        if not faults.armed or _FUNCTIONS_MARK not in headers.get("user-agent", ""):
            return await handle(method, path, headers, body, query)

        async def do() -> Any:
            answer = await handle(method, path, headers, body, query)
            if method == "PUT":
                faults.written(path, answer[0])
            return answer

        rule = faults.request(method, path)
        if rule is None:
            return await do()
        return await _meet(rule, do, faults, pool.process(headers.get("x-amz-security-token", "")))

    app.SERVICE_HANDLERS["s3"] = handle_struck


async def _meet(
    rule: Rule, do: Callable[[], Awaitable[Any]], faults: Faults, signal_process: Callable[[int], None]
) -> Any:
    match rule.action:
        case Action.KILL | Action.HALT:
            answer = await do() if rule.answered else None
            signal_process(signal.SIGKILL if rule.action is Action.KILL else signal.SIGSTOP)
            if rule.action is Action.HALT and rule.seconds:
                asyncio.get_running_loop().call_later(rule.seconds, signal_process, signal.SIGCONT)
            if answer is None:
                return _error(500, "InternalError") if rule.action is Action.KILL else await do()
            return answer
        case Action.REFUSE:
            return _error(403, "AccessDenied")
        case Action.FAIL:
            return _error(500, "InternalError")
        case Action.SLOW_DOWN:
            return _error(503, "SlowDown")
        case Action.LOSE:
            return _acknowledged()
        case Action.DELAY:
            _in_background(lambda: asyncio.sleep(rule.seconds), do)
            return _acknowledged()
        case Action.DUPLICATE:
            _in_background(lambda: asyncio.sleep(rule.seconds), do)
            return await do()
        case Action.ORPHAN:
            signal_process(signal.SIGKILL)
            arrived = faults.orphaned(rule.until)
            _in_background(lambda: asyncio.to_thread(arrived.wait, rule.seconds or _LONGEST_ORPHAN_S), do)
            return _error(500, "InternalError")
    raise AssertionError(f"{rule.action} is none of a request")


_waiting: set[Any] = set()


def _in_background(wait: Callable[[], Awaitable[object]], do: Callable[[], Awaitable[Any]]) -> None:
    async def after() -> None:
        await wait()
        await do()

    task = asyncio.ensure_future(after())
    _waiting.add(task)  # the loop itself keeps no task alive
    task.add_done_callback(_waiting.discard)


def _acknowledged() -> Answer:
    return 200, {"ETag": '"00000000000000000000000000000000"'}, b""


def _error(status: int, code: str) -> Answer:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a fault that was asked for</Message></Error>"
    return status, {"Content-Type": "application/xml"}, text.encode()


def _throttle_invocations(faults: Faults) -> None:
    call = stepfunctions._call_lambda

    def call_unless_throttled(function: str, event: object) -> object:
        if not faults.armed or faults.start(function) is None:
            return call(function, event)
        raise stepfunctions._ExecutionError("Lambda.TooManyRequestsException", "Rate Exceeded.")

    stepfunctions._call_lambda = call_unless_throttled
