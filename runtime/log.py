"""What a worker says of itself: one JSON object per line of standard output, which Lambda keeps in its log group.

    {"time": "2026-11-22T01:02:03.456Z", "level": "INFO", "message": "worker started", "run": "first", ...}

Every line names run, segment, attempt, stage and replica, so that one query over the stages' log groups tells a gang's
story. Only this module's logger writes so: what the user's model prints or logs stays as it is.
"""

import json
import logging
import math
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

LOGGER = "funcpipe"
_OF_EVERY_LINE = ("run", "segment", "attempt", "stage", "replica")


class LogLevel(StrEnum):
    """The least important lines that are written."""

    DEBUG = "DEBUG"
    """A line per iteration."""
    INFO = "INFO"
    """A worker's start and end."""
    WARNING = "WARNING"
    ERROR = "ERROR"
    """Failures only."""


class WorkerLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods take ``facts={...}``: further members of the line's object, of JSON's types."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        facts = kwargs.pop("facts", {})
        return msg, {**kwargs, "extra": {"facts": {**(self.extra or {}), **facts}}}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts = getattr(record, "facts", {})
        line = {"time": at, "level": record.levelname, "message": record.getMessage(), **facts}
        return json.dumps({key: _finite(value) for key, value in line.items()}, ensure_ascii=False)


def worker_log(event: Mapping[str, Any], level: LogLevel) -> WorkerLog:
    """The log of the worker that ``event`` starts, with lines from ``level`` up."""
    logger = logging.getLogger(LOGGER)
    logger.setLevel(level.value)
    logger.propagate = False  # Lambda's own handler would write each line once more, in its own format.
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Json())
    logger.handlers = [handler]  # A function's process is used again: one handler, not one per invocation.
    return WorkerLog(logger, {name: event.get(name) for name in _OF_EVERY_LINE})


def _finite(value: Any) -> Any:
    """JSON has no infinities and no NaN, which a diverging loss is."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
