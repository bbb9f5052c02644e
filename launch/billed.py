"""What Lambda says it billed: the REPORT lines in the stage functions' log.

A REPORT line does not say of which function it is; the name of its stream does, where the log group was chosen at
deployment: YYYY/MM/DD/FUNCTION[VERSION]ID.
(docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html, read 2026-11-26)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from launch.deployment import StageFunction
from launch.session import aws_errors, client

_REPORT = re.compile(
    r"REPORT RequestId: (?P<request_id>\S+)\s+Duration: (?P<duration>[\d.]+) ms"
    r"\s+Billed Duration: (?P<billed>[\d.]+) ms\s+Memory Size: (?P<memory>\d+) MB"
    r"\s+Max Memory Used: (?P<used>\d+) MB(?:\s+Init Duration: (?P<init>[\d.]+) ms)?"
)
_STREAM = re.compile(r"\d{4}/\d{2}/\d{2}/(?P<function>[A-Za-z0-9_-]+)\[.*")


@dataclass(frozen=True)
class Invocation:
    """One REPORT line, logged at Unix time ``ended_at``. ``init_s`` is None for a warm start."""

    stage: int
    request_id: str
    ended_at: float
    billed_s: float
    memory_mb: int
    max_memory_used_mb: int
    init_s: float | None

    @property
    def begun_at(self) -> float:
        """Unix time, init included."""
        return self.ended_at - self.billed_s


def parse_report(line: str, stage: int, ended_at: float) -> Invocation | None:
    """The invocation that ``line`` reports, or None when it is no REPORT line."""
    match = _REPORT.search(line)
    if match is None:
        return None
    return Invocation(
        stage=stage,
        request_id=match["request_id"],
        ended_at=ended_at,
        billed_s=float(match["billed"]) / 1_000,
        memory_mb=int(match["memory"]),
        max_memory_used_mb=int(match["used"]),
        init_s=float(match["init"]) / 1_000 if match["init"] else None,
    )


EVENT_BYTES = 26
"""That CloudWatch Logs counts for an event besides its UTF-8 text (docs.aws.amazon.com/AmazonCloudWatchLogs/latest/
APIReference/API_PutLogEvents.html, read 2026-11-26)."""


@dataclass(frozen=True)
class Logged:
    """What the functions' logs say of a run."""

    invocations: list[Invocation]
    """Those that ended in the time asked for, each once."""
    log_bytes: int
    """Of all lines in that time, as they are billed."""


def logged(functions: list[StageFunction], begin_s: float, end_s: float, *, logs: Any = None) -> Logged:
    """What the functions logged between two Unix times.

    Raises:
        FuncpipeError: the log groups cannot be read.
    """
    found: dict[str, Invocation] = {}
    log_bytes = 0
    with aws_errors():
        logs = logs or client("logs")
        stages = {function.name: function.stage for function in functions}
        for log_group in dict.fromkeys(function.log_group for function in functions):
            for line, at, stream in _lines(logs, log_group, begin_s, end_s):
                name = _STREAM.fullmatch(stream)
                if name is None or name["function"] not in stages:
                    continue
                log_bytes += len(line.encode()) + EVENT_BYTES
                if invocation := parse_report(line, stages[name["function"]], at):
                    found[invocation.request_id] = invocation
    return Logged(list(found.values()), log_bytes)


def _lines(logs: Any, log_group: str, begin_s: float, end_s: float) -> Iterator[tuple[str, float, str]]:
    """Message, Unix time and stream of each event."""
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=log_group,
        startTime=int(begin_s * 1_000),
        endTime=int(end_s * 1_000) + 1,
    )
    for page in pages:
        for event in page["events"]:
            yield event["message"], event["timestamp"] / 1_000, event["logStreamName"]
