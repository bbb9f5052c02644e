"""Faults that a running emulator makes when it is asked to: functions meet them, and nobody else."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from localaws.arming import arm, struck
from localaws.faults import Action, Rule
from tests.conftest import RunningEmulator
from tests.localaws.test_emulator import invoke, keys


@pytest.fixture
def faults(emulator: RunningEmulator) -> Iterator[Any]:
    """Arms rules, which are taken away at the end."""
    yield lambda *rules: arm(emulator.process, rules)
    arm(emulator.process, [])


def put(emulator: RunningEmulator, function: str, bucket: str, key: str) -> tuple[str | None, Any]:
    """Makes the function put an object, and return."""
    emulator.client("s3").put_object(Bucket=bucket, Key="go")
    return invoke(emulator, function, do="await_object", bucket=bucket, arrived=key, released="go")


def test_functions_requests_meet_what_was_asked_for(
    emulator: RunningEmulator, function: str, bucket: str, faults: Any
) -> None:
    faults(Rule(Action.LOSE, f"/{bucket}/lost", "PUT"), Rule(Action.REFUSE, f"/{bucket}/refused", "PUT"))
    s3 = emulator.client("s3")
    s3.put_object(Bucket=bucket, Key="refused")
    s3.delete_object(Bucket=bucket, Key="refused")
    assert struck(emulator.process).hits == (), "the owner is no function"

    assert put(emulator, function, bucket, "lost") == (None, "released")
    error, answer = put(emulator, function, bucket, "refused")
    assert error and "AccessDenied" in answer["errorMessage"]
    assert put(emulator, function, bucket, "stored") == (None, "released")
    assert keys(emulator, bucket) == {"go", "stored"}
    seen = struck(emulator.process)
    assert [(hit.rule, hit.path) for hit in seen.hits] == [(0, f"/{bucket}/lost"), (1, f"/{bucket}/refused")]
    assert [(write.path, write.status) for write in seen.writes] == [(f"/{bucket}/stored", 200)]


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_a_process_is_killed_before_or_after_its_request(
    emulator: RunningEmulator,
    function: str,
    bucket: str,
    faults: Any,
    answered: bool,
) -> None:
    faults(Rule(Action.KILL, f"/{bucket}/*", "PUT", nth=1, answered=answered))
    error, answer = put(emulator, function, bucket, "last")
    assert error and "signal: killed" in answer["errorMessage"]
    assert ("last" in keys(emulator, bucket)) is answered
    assert put(emulator, function, bucket, "next") == (None, "released"), "another process, and the rule has struck"


def test_a_killed_process_s_request_is_done_when_its_time_comes(
    emulator: RunningEmulator, function: str, bucket: str, faults: Any
) -> None:
    faults(Rule(Action.ORPHAN, f"/{bucket}/orphan", "PUT", nth=1, until=f"/{bucket}/next"))
    assert put(emulator, function, bucket, "orphan")[0]
    assert "orphan" not in keys(emulator, bucket)
    assert put(emulator, function, bucket, "next") == (None, "released")
    give_up = time.monotonic() + 60
    while "orphan" not in keys(emulator, bucket):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_invocations_meet_a_wrong_clock_and_are_made_twice(
    emulator: RunningEmulator,
    function: str,
    faults: Any,
) -> None:
    faults(Rule(Action.SHIFT_CLOCK, f"*{function}*", nth=1, seconds=-3_600.0))
    behind, right = (invoke(emulator, function, do="now")[1] for _ in range(2))
    assert right["wall"] - behind["wall"] > 3_500 and right["pid"] != behind["pid"]
    faults(Rule(Action.TWICE, f"*{function}*", nth=1, answer=1))
    assert invoke(emulator, function, do="now")[1]["pid"] != right["pid"], "the answer is another environment's"


def test_what_is_no_rule_is_refused(emulator: RunningEmulator) -> None:
    request = urllib.request.Request(f"{emulator.endpoint}/_localaws/faults", data=b'[{"path": "*"}]', method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400 and b"not a rule" in refused.value.read()
