"""Asking a running emulator for faults, and what has come of them. Standard library only."""

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from localaws.faults import Hit, Rule
from localaws.state import Emulator

_PATH = "/_localaws/faults"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Write:
    """A function's PUT: /BUCKET/KEY, when it was answered (Unix time), and by which status."""

    path: str
    at: float
    status: int


@dataclass(frozen=True)
class Struck:
    """What has happened since rules were armed."""

    hits: tuple[Hit, ...]
    writes: tuple[Write, ...]


def arm(emulator: Emulator, rules: Sequence[Rule]) -> None:
    """These rules are in force from now on, and no others. Raises OSError when the emulator does not answer."""
    _ask(emulator, "PUT", json.dumps([asdict(rule) for rule in rules]).encode())


def struck(emulator: Emulator) -> Struck:
    """Since ``arm``. Raises OSError when the emulator does not answer."""
    answer = _ask(emulator, "GET")
    return Struck(
        hits=tuple(Hit(**hit) for hit in answer["hits"]), writes=tuple(Write(*write) for write in answer["writes"])
    )


def _ask(emulator: Emulator, method: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(emulator.endpoint + _PATH, data=body, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as answer:
        return json.loads(answer.read())
