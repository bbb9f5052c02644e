"""Faults that the emulator makes: which request of a function, or which invocation, meets what.

Functions run unmodified: requests fail at the S3 front, processes are ended or halted by their ids, invocations are
refused or made twice. A rule names what it strikes by patterns and by a count, so the same requests meet the same
faults, whatever the clock says.

    {"action": "kill", "method": "PUT", "path": "*/run/00000/000/activation/00000002/00001", "nth": 1}
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class Action(StrEnum):
    """What is done. Of requests to S3 by a function:"""

    KILL = "kill"
    """The process that asks gets SIGKILL."""
    HALT = "halt"
    """It gets SIGSTOP, and with ``seconds`` SIGCONT after these."""
    REFUSE = "refuse"
    """Answered by 403 AccessDenied."""
    LOSE = "lose"
    """A PUT is acknowledged and not done."""
    DELAY = "delay"
    """A PUT is acknowledged, and done ``seconds`` later."""
    DUPLICATE = "duplicate"
    """A PUT is done, and once more ``seconds`` later."""
    ORPHAN = "orphan"
    """The process that asks gets SIGKILL, and its request is done all the same: when one that matches ``until`` comes,
    or after ``seconds``."""
    FAIL = "fail"
    """Answered by 500 InternalError, and not done."""
    SLOW_DOWN = "slow down"
    """Answered by 503 SlowDown, and not done."""
    # Of invocations, which ``path`` names by the function's name:
    THROTTLE = "throttle"
    """Refused by TooManyRequestsException."""
    TWICE = "twice"
    """The event is given to two environments at once; the answer of ``answer`` (0 or 1) counts."""
    SHIFT_CLOCK = "shift clock"
    """The function's process has a wall clock that is ``seconds`` ahead."""


OF_STARTS = frozenset({Action.THROTTLE})
OF_RUNS = frozenset({Action.TWICE, Action.SHIFT_CLOCK})
OF_REQUESTS = frozenset(Action) - OF_STARTS - OF_RUNS


@dataclass(frozen=True)
class Rule:
    """What meets what; requests are matched by ``method`` and by ``path`` (/BUCKET/KEY), a shell pattern."""

    action: Action
    path: str
    method: str = "*"
    nth: int | None = None
    """Only the match of this number, from 1; all when None."""
    times: int = 1
    """With ``nth``: so many matches from that one on."""
    share: float = 1.0
    """Of the matches, as ``seed``, path and count decide."""
    seed: int = 0
    seconds: float = 0.0
    until: str = ""
    answered: bool = False
    """KILL, HALT: the request is done first."""
    answer: int = 0

    @staticmethod
    def parse(document: Any) -> "Rule":
        """Raises ValueError when ``document`` is no rule."""
        known = {field.name: field.type for field in fields(Rule)}
        if not isinstance(document, dict) or document.keys() - known or "path" not in document:
            raise ValueError(f"not a rule: {document!r} (known: {', '.join(known)})")
        try:
            return Rule(**{**document, "action": Action(document["action"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a rule: {document!r} ({error})") from None


@dataclass(frozen=True)
class Hit:
    """A rule has struck: rule by number, at Unix time ``at``."""

    rule: int
    path: str
    at: float


class Faults:
    """The rules in force, and what has come of them. Its methods may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.arm([])

    def arm(self, rules: Iterable[Rule]) -> None:
        """These rules, and no others, from now on; what came before is forgotten."""
        with self._lock:
            self._rules = tuple(rules)
            self._orphans: list[tuple[str, threading.Event]] = []
            self._hits: list[Hit] = []
            self._writes: list[tuple[str, float, int]] = []
            self._matches: Counter[tuple[int, str]] = Counter()

    @property
    def armed(self) -> bool:
        return bool(self._rules)

    def request(self, method: str, path: str) -> Rule | None:
        """The rule that strikes a function's request to S3, if one does."""
        with self._lock:
            for pattern, arrived in self._orphans:
                if fnmatchcase(path, pattern):
                    arrived.set()
            return self._strike(method, path, OF_REQUESTS)

    def start(self, function: str) -> Rule | None:
        """The rule that keeps an invocation from starting, if one does."""
        with self._lock:
            return self._strike("INVOKE", function, OF_STARTS)

    def run(self, function: str) -> Rule | None:
        """The rule that strikes an invocation which has been started, if one does."""
        with self._lock:
            return self._strike("INVOKE", function, OF_RUNS)

    def _strike(self, method: str, path: str, actions: frozenset[Action]) -> Rule | None:
        for number, rule in enumerate(self._rules):
            if rule.action not in actions or not fnmatchcase(method, rule.method) or not fnmatchcase(path, rule.path):
                continue
            # What is drawn is drawn for each path by itself: workers race with one another.
            place = (number, "" if rule.nth is not None else path)
            self._matches[place] += 1
            count = self._matches[place]
            if rule.nth is not None and not rule.nth <= count < rule.nth + rule.times:
                continue
            if rule.share < 1.0 and _chance(f"{rule.seed}/{number}/{method}/{count}/{path}") >= rule.share:
                continue
            self._hits.append(Hit(number, path, time.time()))
            return rule
        return None

    def orphaned(self, until: str) -> threading.Event:
        """Set when a request comes that matches ``until``."""
        arrived = threading.Event()
        with self._lock:
            self._orphans.append((until, arrived))
        return arrived

    def written(self, path: str, status: int) -> None:
        """A function's PUT was answered by ``status`` just now."""
        with self._lock:
            if self._rules:
                self._writes.append((path, time.time(), status))

    def report(self) -> dict[str, Any]:
        """Since ``arm``: which rules have struck what, and what functions have put: path, Unix time, status."""
        with self._lock:
            return {"hits": [asdict(hit) for hit in self._hits], "writes": [list(write) for write in self._writes]}


def _chance(text: str) -> float:
    """A number from 0 to below 1 that follows from ``text``."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
