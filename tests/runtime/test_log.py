"""Lines of a worker's log: JSON whatever they say, one for each call however often a process is used."""

import json
import logging
import math

import pytest

from runtime.log import LogLevel, worker_log


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_process_that_is_used_again_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    for segment in range(3):
        worker_log({"run": "r", "segment": segment}, LogLevel.INFO).info("hello")
    assert [line["segment"] for line in lines(capsys)] == [0, 1, 2]


def test_what_json_cannot_say_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"loss": math.nan, "seconds": math.inf, "error": 'two\nlines, "quotes" and Größe'}
    worker_log({}, LogLevel.INFO).error("failed", facts=facts)
    (line,) = lines(capsys)
    assert (line["loss"], line["seconds"], line["error"]) == ("nan", "inf", facts["error"])
    assert line["run"] is None, "an event without a run is logged as such"


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    log = worker_log({}, LogLevel.WARNING)
    log.info("not this")
    log.warning("this")
    assert [line["message"] for line in lines(capsys)] == ["this"]


def test_the_users_own_logging_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    worker_log({}, LogLevel.DEBUG)
    logging.getLogger("the.model").warning("mine")
    assert logging.getLogger().handlers == before
    assert capsys.readouterr().out == ""
