import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from localaws import processes
from localaws.execution_environment import FunctionVersion, Host, Result
from localaws.guardian import Guardian
from localaws.pool import Pool
from localaws.runtime_api import MAX_PAYLOAD_BYTES
from tests.localaws.waiting import wait_until


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    guardian = Guardian()
    folder = tmp_path / "environments"
    folder.mkdir()
    pool = Pool(Host(Path(sys.executable), folder, guardian))
    yield pool
    pool.drop(lambda function: True)
    guardian.close()


@pytest.fixture
def function(tmp_path: Path) -> FunctionVersion:
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(Path(__file__).with_name("sample_function.py"), code)
    return FunctionVersion(
        name="sample",
        arn="arn:aws:lambda:us-east-1:000000000000:function:sample",
        handler="sample_function.handler",
        code=code,
        memory_mb=256,
        timeout_s=60,
        variables=(("GREETING", "hello"),),
    )


def invoke(pool: Pool, function: FunctionVersion, **event: Any) -> Result:
    return pool.invoke(function, json.dumps(event).encode(), str(uuid4()))


def body(result: Result) -> Any:
    return json.loads(result.outcome.body)


def echo_pid(pool: Pool, function: FunctionVersion) -> int:
    result = invoke(pool, function, do="echo", text="x")
    assert not result.outcome.failed, result
    return body(result)["pid"]


def ended(pid: int) -> bool:
    return processes.start_time(pid) is None


def test_returns_what_the_handler_returns(pool: Pool, function: FunctionVersion) -> None:
    result = invoke(pool, function, do="echo", text="grüße")
    assert not result.outcome.failed
    assert body(result)["text"] == "grüße"


def test_log_has_the_platforms_lines_around_the_handlers(pool: Pool, function: FunctionVersion) -> None:
    result = invoke(pool, function, do="echo", text="one")
    request = body(result)["request"]
    assert result.log[:3] == [f"START RequestId: {request} Version: $LATEST", "echo one", f"END RequestId: {request}"]
    match = re.fullmatch(
        rf"REPORT RequestId: {request}\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\tMemory Size: 256 MB\t"
        r"Max Memory Used: (\d+) MB\tInit Duration: ([\d.]+) ms",
        result.log[3],
    )
    assert match, result.log
    duration, billed, memory, init = (float(group) for group in match.groups())
    assert billed >= duration + init > billed - 1.01, "the init phase is billed, rounded up to a millisecond"
    assert 5 < memory < 256


def test_reuses_a_warm_environment_and_says_so(pool: Pool, function: FunctionVersion) -> None:
    first, second = (invoke(pool, function, do="echo", text="x") for _ in range(2))
    assert body(first)["pid"] == body(second)["pid"]
    assert "Init Duration" in first.log[-1]
    assert "Init Duration" not in second.log[-1]


def test_another_version_gets_another_environment(pool: Pool, function: FunctionVersion) -> None:
    assert echo_pid(pool, function) != echo_pid(pool, replace(function, memory_mb=512))


def test_an_exception_has_its_class_and_keeps_the_environment(pool: Pool, function: FunctionVersion) -> None:
    pid = echo_pid(pool, function)
    result = invoke(pool, function, do="fail")
    assert result.outcome.failed
    assert body(result)["errorType"] == "ValueError"
    assert body(result)["errorMessage"] == "told to fail"
    assert any("sample_function.py" in line for line in body(result)["stackTrace"])
    assert echo_pid(pool, function) == pid


def test_a_handler_that_cannot_be_imported(pool: Pool, function: FunctionVersion) -> None:
    result = invoke(pool, replace(function, handler="absent.handler"), do="echo")
    assert body(result)["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'absent'" in body(result)["errorMessage"]
    assert result.log[-1].endswith("Status: error\tError Type: Runtime.ImportModuleError")


def test_an_exit_ends_the_environment_only(pool: Pool, function: FunctionVersion) -> None:
    pid = echo_pid(pool, function)
    result = invoke(pool, function, do="leave", status=3)
    assert body(result)["errorType"] == "Runtime.ExitError"
    assert body(result)["errorMessage"].endswith("Runtime exited with error: exit status 3")
    assert echo_pid(pool, function) != pid


def test_a_time_out_ends_the_process_and_its_children(pool: Pool, function: FunctionVersion, tmp_path: Path) -> None:
    slow = replace(function, timeout_s=2)
    pids = tmp_path / "pids"
    result = invoke(pool, slow, do="hang", pids=str(pids))
    assert body(result)["errorType"] == "Sandbox.Timedout"
    assert body(result)["errorMessage"].endswith("Task timed out after 2.00 seconds")
    assert result.log[-1].endswith("Status: timeout")
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: ended(int(pid)), f"process {pid} ends")


def test_memory_above_the_limit_is_fatal(pool: Pool, function: FunctionVersion) -> None:
    result = invoke(pool, function, do="allocate", mb=400)
    used = int(re.search(r"Max Memory Used: (\d+) MB", result.log[-1])[1])
    assert used > 256
    assert body(result)["errorType"] == "Runtime.ExitError"
    assert body(result)["errorMessage"].endswith("signal: killed")
    assert result.log[-1].endswith("Status: error\tError Type: Runtime.OutOfMemory")


def test_memory_below_the_limit_is_reported(pool: Pool, function: FunctionVersion) -> None:
    result = invoke(pool, function, do="allocate", mb=100)
    assert body(result) == 100 << 20
    assert 100 < int(re.search(r"Max Memory Used: (\d+) MB", result.log[-1])[1]) < 256


def test_payloads_are_limited_both_ways(pool: Pool, function: FunctionVersion) -> None:
    spare = 2  # the quotes of a JSON string
    assert len(body(invoke(pool, function, do="answer_with", bytes=MAX_PAYLOAD_BYTES - spare))) > 6_000_000
    response = invoke(pool, function, do="answer_with", bytes=MAX_PAYLOAD_BYTES - spare + 1)
    assert body(response)["errorType"] == "Function.ResponseSizeTooLarge"
    request = invoke(pool, function, do="echo", text="x" * MAX_PAYLOAD_BYTES)
    assert body(request)["errorType"] == "RequestTooLargeException"


def test_sees_its_own_environment_and_nothing_of_the_hosts(
    pool: Pool, function: FunctionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    seen = body(invoke(pool, replace(function, memory_mb=10_240), do="environment"))
    assert "SECRET_OF_THE_HOST" not in seen
    assert seen["GREETING"] == "hello"
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "10240"
    assert seen["LAMBDA_TASK_ROOT"] == str(function.code)
    assert seen["HOME"] == seen["TMPDIR"] != os.environ.get("HOME")
    assert int(seen["OMP_NUM_THREADS"]) == min(6, os.cpu_count() or 1)
    other = body(invoke(pool, replace(function, memory_mb=1_769), do="environment"))
    assert other["OMP_NUM_THREADS"] == "1"
    assert other["TMPDIR"] != seen["TMPDIR"]


def test_invocations_at_the_same_time_have_an_environment_each(
    pool: Pool, function: FunctionVersion, tmp_path: Path
) -> None:
    folder = tmp_path / "meeting"
    folder.mkdir()
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(invoke, pool, function, do="meet", folder=str(folder), expected=3) for _ in range(3)]
        pids = {body(call.result()) for call in calls}
    assert len(pids) == 3


def test_dropping_a_function_ends_what_it_is_doing(pool: Pool, function: FunctionVersion, tmp_path: Path) -> None:
    other = replace(function, name="other")
    kept = echo_pid(pool, other)
    pids = tmp_path / "pids"
    results: list[Result] = []
    caller = threading.Thread(target=lambda: results.append(invoke(pool, function, do="hang", pids=str(pids))))
    caller.start()
    wait_until(pids.exists, "the handler has begun")
    pool.drop(lambda version: version.name == "sample")
    caller.join()
    assert body(results[0])["errorType"] == "Runtime.ExitError"
    # Only its own process is waited for: what that had started was killed with it, and ends when the system says so.
    wait_until(lambda: all(ended(int(pid)) for pid in pids.read_text().split()), "what it started has ended")
    assert echo_pid(pool, other) == kept


def test_leaves_no_temporary_folder(pool: Pool, function: FunctionVersion, tmp_path: Path) -> None:
    echo_pid(pool, function)
    assert len(list((tmp_path / "environments").iterdir())) == 1
    pool.drop(lambda version: True)
    assert list((tmp_path / "environments").iterdir()) == []
