"""Stores around a store: one that counts what passes, and one that is as slow as a given link."""

import threading
import time
from collections.abc import Callable, Iterator

from pydantic import Field

from runtime.records import Traffic
from runtime.spec import NonNegative, Positive, Strict
from runtime.store import Body, Data, KeyNotFound, Store


class TrafficCounter:
    """Adds up the requests and bytes of all of a worker's stores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Traffic.model_fields, 0)

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count

    @property
    def traffic(self) -> Traffic:
        with self._lock:
            return Traffic(**self._counts)


class CountingStore(Store):
    """Counts every request that the wrapped store answers."""

    def __init__(self, store: Store, counter: TrafficCounter) -> None:
        self._store, self._counter = store, counter

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        self._counter.add(puts=1, bytes_up=len(body))
        return self._store.put(key, body, if_absent=if_absent)

    def get(self, key: str) -> Data:
        try:
            data = self._store.get(key)
        except KeyNotFound:
            self._counter.add(gets=1, empty_gets=1)
            raise
        self._counter.add(gets=1, bytes_down=len(data))
        return data

    def delete(self, key: str) -> None:
        self._counter.add(deletes=1)
        self._store.delete(key)

    def list(self, prefix: str) -> Iterator[str]:
        self._counter.add(lists=1)
        return self._store.list(prefix)


class LinkSpec(Strict):
    """A worker's link to storage; None is unlimited."""

    upload_bytes_s: Positive | None = None
    download_bytes_s: Positive | None = None
    latency_s: NonNegative = Field(0.0, description="added to every request")


class _Direction:
    """A serial line: transfers take their turn at ``rate`` bytes per second."""

    def __init__(self, rate: float | None, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def begin(self) -> float:
        """Now, as ``transfer`` takes it."""
        return self._clock()

    def transfer(self, size: int, begun: float) -> None:
        """Waits until ``size`` bytes that began to flow at ``begun``, or when the line was free, are through."""
        if self._rate is None:
            return
        with self._lock:
            self._free_at = max(begun, self._free_at) + size / self._rate
            wait = self._free_at - self._clock()
        if wait > 0:
            self._sleep(wait)


class Link:
    """One worker's link, shared by all of its stores; uplink and downlink are separate."""

    def __init__(
        self,
        spec: LinkSpec,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._latency_s, self._sleep = spec.latency_s, sleep
        self.up = _Direction(spec.upload_bytes_s, clock, sleep)
        self.down = _Direction(spec.download_bytes_s, clock, sleep)

    def request(self) -> None:
        """Waits for one request's latency; requests do not wait for one another."""
        if self._latency_s:
            self._sleep(self._latency_s)


class ThrottledStore(Store):
    """As fast as its link."""

    def __init__(self, store: Store, link: Link) -> None:
        self._store, self._link = store, link

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        self._link.request()
        self._link.up.transfer(len(body), self._link.up.begin())
        return self._store.put(key, body, if_absent=if_absent)

    def get(self, key: str) -> Data:
        self._link.request()
        begun = self._link.down.begin()  # bytes flow while the store reads: its own time is not on top of the link's
        data = self._store.get(key)
        self._link.down.transfer(len(data), begun)
        return data

    def delete(self, key: str) -> None:
        self._link.request()
        self._store.delete(key)

    def list(self, prefix: str) -> Iterator[str]:
        self._link.request()
        return self._store.list(prefix)
