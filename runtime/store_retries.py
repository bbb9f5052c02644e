"""The one place where requests to storage are tried again: a store around a store.

Up to TRIES tries, with pauses of a random length between 0 and FIRST_PAUSE_S · 2^(n-1) after the n-th, at most
LONGEST_PAUSE_S ("full jitter": aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, read 2026-11-24), so
that workers which a store slows down do not come back all at once. That is up to 12 s of pauses, 6 s on average.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from runtime.store import Body, Data, Found, Held, Store, StoreUnavailable, TransientError

T = TypeVar("T")

TRIES = 8
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


class RetryingStore(Store):
    """Tries requests of the wrapped store again when they fail with TransientError; raises StoreUnavailable at the end.

    A conditional PUT whose first answer was lost may find its own object when it is tried again. It then counts as the
    first when the object is the very one that it sent, so writers that compete must send different ones.

    Args:
        clock, sleep, generator: time and chance, for tests.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        generator: random.Random | None = None,
    ) -> None:
        self._store, self._clock, self._sleep = store, clock, sleep
        self._random = generator or random.Random()

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        tries = 0

        def attempt(left_s: float | None) -> bool:
            nonlocal tries
            tries += 1
            return self._store.put(key, body, if_absent=if_absent)

        done = self._try("PUT", key, attempt)
        return done or (tries > 1 and self.get(key) == body)

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        return self._try("GET", key, lambda left_s: self._store.get(key, within_s=left_s, found=found), within_s)

    def delete(self, key: str) -> None:
        self._try("DELETE", key, lambda left_s: self._store.delete(key))

    def held(self, prefix: str) -> Iterator[Held]:
        return self._try("LIST", prefix, lambda left_s: iter(list(self._store.held(prefix))))

    def _try(self, what: str, key: str, request: Callable[[float | None], T], within_s: float | None = None) -> T:
        """``request``'s answer; it is given the seconds that are left."""
        begin = self._clock()
        for attempt in range(1, TRIES + 1):
            left_s = None if within_s is None else within_s - (self._clock() - begin)
            try:
                return request(left_s)
            except TransientError as error:
                pause = self._random.uniform(0.0, min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S))
                late = within_s is not None and self._clock() - begin + pause >= within_s
                if late or attempt == TRIES:
                    raise StoreUnavailable(
                        f"storage did not do {what} {key} in {attempt} tries over {self._clock() - begin:.1f} s: "
                        f"{error}. Run again later; if it stays so, look at the storage's limits and at the network."
                    ) from error
                self._sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")
