"""Advice for workers that left no word, by what Lambda says of them."""

import json
import re

import pytest

from launch.deaths import explained
from runtime.records import Failure
from tests.launch.hand_written import a_failure, event
from tests.manifests import make_manifest


def death(error: str) -> Failure:
    return Failure(event=event(make_manifest(), 1), kind="died", error=error, at=1.0)


@pytest.mark.parametrize(
    ("name", "said", "advice"),
    [
        ("Runtime.ExitError", "Runtime exited with error: signal: killed", r"1536 MB.*limits\.memory_mb"),
        ("Sandbox.Timedout", "Error: Task timed out after 300.00 seconds", "timeout is 300 s"),
        ("Lambda.TooManyRequestsException", "Rate Exceeded.", "another run.*-c stack=NAME"),
    ],
)
def test_a_cause_is_unpacked_and_advised_on(name: str, said: str, advice: str) -> None:
    manifest = make_manifest(memory_mb=1536)
    told = {"message": said} if name.startswith("Lambda.") else {"errorType": name, "errorMessage": said}
    failure = death(f"{name}: {json.dumps(told)}")
    found = explained(failure, manifest, None)
    first, second = found.error.split("\n")
    assert first == f"{name}: {said}"
    assert re.search(advice, second)


@pytest.mark.parametrize("error", ["Lambda.Unknown: no JSON", "Lambda.Unknown", 'X: {"errorMessage', "X: [1]"])
def test_what_is_not_understood_is_left_as_it_is(error: str) -> None:
    assert explained(death(error), make_manifest(), None).error == error


def test_failures_with_a_record_of_their_own_stay_as_they_are() -> None:
    failure = a_failure(make_manifest())
    assert explained(failure, make_manifest(), None) is failure
