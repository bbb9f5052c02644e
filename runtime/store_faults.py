"""A store that fails as real ones do, by rule and by seed: for tests, and for trying out a run against faults.

What happens to a request depends on the seed, the rule, the key and how often that key was asked for, and not on
which thread came first: the same requests meet the same faults.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from runtime.spec import NonNegative, Strict
from runtime.store import Body, Data, Found, Held, Store, TransientError


class FaultKind(StrEnum):
    LOST_PUT = "lost_put"
    """The sender is told that all is well, but the object is not there. S3 does not do so: a worker's code may."""
    DELAYED_PUT = "delayed_put"
    """The object appears only ``delay_s`` after the sender was told that it is there."""
    DUPLICATED_PUT = "duplicated_put"
    """The object appears, and once more after ``delay_s``, as a retry that was long on its way."""
    UNANSWERED_PUT = "unanswered_put"
    """The object appears, but the connection breaks before the sender is told."""
    READ_ERROR = "read_error"
    """A GET's connection breaks."""
    THROTTLED = "throttled"
    """Any request is refused, as with S3's SlowDown."""
    SLOW = "slow"
    """Any request takes ``delay_s`` more."""


_PUTS = {FaultKind.LOST_PUT, FaultKind.DELAYED_PUT, FaultKind.DUPLICATED_PUT, FaultKind.UNANSWERED_PUT}


class FaultRule(Strict):
    """Which requests fail how."""

    kind: FaultKind
    key: str = Field("*", description="shell pattern of the keys that are affected; * also matches /")
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of the requests that match."""
    first: Annotated[int, Field(ge=1)] | None = None
    """Only the first so many requests of a key that match; a request that is tried again counts again."""
    delay_s: NonNegative = 0.0

    def concerns(self, operation: str, key: str) -> bool:
        applies = (
            operation == "PUT"
            if self.kind in _PUTS
            else operation == "GET"
            if self.kind is FaultKind.READ_ERROR
            else True
        )
        return applies and fnmatchcase(key, self.key)


class FaultSpec(Strict):
    """The faults of one store; the first rule that hits a request decides."""

    seed: int = 0
    rules: tuple[FaultRule, ...] = ()


def _later(delay_s: float, action: Callable[[], object]) -> None:
    timer = threading.Timer(delay_s, action)
    timer.daemon = True
    timer.start()


class FaultyStore(Store):
    """The wrapped store with the faults of ``spec``.

    Args:
        sleep: for slow requests.
        later: does something after a delay, for objects that appear late; what is due after the process's end is lost.
    """

    def __init__(
        self,
        store: Store,
        spec: FaultSpec,
        *,
        sleep: Callable[[float], None] = time.sleep,
        later: Callable[[float, Callable[[], object]], None] = _later,
    ) -> None:
        self._store, self._spec, self._sleep, self._later = store, spec, sleep, later
        self._lock = threading.Lock()
        self._asked: Counter[tuple[int, str, str]] = Counter()

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        rule = self._strike("PUT", key)
        if rule is None or rule.kind is FaultKind.SLOW:
            return self._store.put(key, body, if_absent=if_absent)
        copy = bytes(body)
        if rule.kind is FaultKind.LOST_PUT:
            return True
        if rule.kind is FaultKind.DELAYED_PUT:
            self._later(rule.delay_s, lambda: self._store.put(key, copy, if_absent=if_absent))
            return True
        done = self._store.put(key, body, if_absent=if_absent)
        if rule.kind is FaultKind.DUPLICATED_PUT:
            self._later(rule.delay_s, lambda: self._store.put(key, copy, if_absent=if_absent))
            return done
        raise TransientError(f"the connection broke before PUT {key} was answered")

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        rule = self._strike("GET", key)
        if rule is not None and rule.kind is FaultKind.READ_ERROR:
            raise TransientError(f"the connection broke during GET {key}")
        return self._store.get(key, within_s=within_s, found=found)

    def delete(self, key: str) -> None:
        self._strike("DELETE", key)
        self._store.delete(key)

    def held(self, prefix: str) -> Iterator[Held]:
        self._strike("LIST", prefix)
        return self._store.held(prefix)

    def _strike(self, operation: str, key: str) -> FaultRule | None:
        """The rule that hits this request, after what all operations have in common. Raises TransientError."""
        rule = self._hit(operation, key)
        if rule is not None and rule.kind is FaultKind.THROTTLED:
            raise TransientError(f"SlowDown: please reduce your request rate ({operation} {key})")
        if rule is not None and rule.kind is FaultKind.SLOW:
            self._sleep(rule.delay_s)
        return rule

    def _hit(self, operation: str, key: str) -> FaultRule | None:
        for number, rule in enumerate(self._spec.rules):
            if not rule.concerns(operation, key):
                continue
            place = (number, operation, key)
            with self._lock:
                self._asked[place] += 1
                count = self._asked[place]
            if rule.first is not None and count > rule.first:
                continue
            text = f"{self._spec.seed}/{number}/{operation}/{count}/{key}"
            chance = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
            if chance < rule.share:
                return rule
        return None
