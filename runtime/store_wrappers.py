"""Stores around a store: one that counts what passes, and one that is as slow as a given link.

What fails, and what tries again, are ``store_faults`` and ``store_retries``. A worker's stack, from the outside:
retries, count, link, faults, store; so each try is counted and pays its way.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator

from pydantic import Field

from runtime.records import Traffic
from runtime.spec import NonNegative, Positive, Strict
from runtime.store import Body, Data, Found, Held, KeyNotFound, Store


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
    """Counts every request, also one that fails: it is paid for."""

    def __init__(self, store: Store, counter: TrafficCounter) -> None:
        self._store, self._counter = store, counter

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        self._counter.add(puts=1, bytes_up=len(body))
        return self._store.put(key, body, if_absent=if_absent)

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        self._counter.add(gets=1)
        try:
            data = self._store.get(key, within_s=within_s, found=found)
        except KeyNotFound:
            self._counter.add(empty_gets=1)
            raise
        self._counter.add(bytes_down=len(data))
        return data

    def delete(self, key: str) -> None:
        self._counter.add(deletes=1)
        self._store.delete(key)

    def held(self, prefix: str) -> Iterator[Held]:
        self._counter.add(lists=1)
        return self._store.held(prefix)


class LinkSpec(Strict):
    """A worker's link to storage; None is unlimited."""

    upload_bytes_s: Positive | None = None
    download_bytes_s: Positive | None = None
    upload_burst_bytes: NonNegative = Field(0.0, description="sent at once after a time of rest, above the rate")
    download_burst_bytes: NonNegative = 0.0
    connection_bytes_s: Positive | None = Field(None, description="of each request by itself, in either direction")
    latency_s: NonNegative = Field(0.0, description="added to every request: the median")
    latency_sigma: NonNegative = Field(
        0.0, description="of the logarithm of the latencies, which are log-normal; 0: all are the median"
    )
    seed: int = Field(0, description="of the latencies")


class _Direction:
    """One way of a link: a token bucket of ``burst`` bytes that is filled with ``rate`` bytes per second.

    Told by the time at which the line would be free if it had no bucket; that may lie as far in the past as the bucket
    takes to fill. Transfers take their turn, and each lasts at least as long as its own connection needs.
    """

    def __init__(
        self,
        rate: float | None,
        burst: float,
        connection_rate: float | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._rate, self._connection_rate, self._clock, self._sleep = rate, connection_rate, clock, sleep
        self._ahead_s = burst / rate if rate else 0.0
        self._lock = threading.Lock()
        self._free_at = -math.inf

    def begin(self) -> float:
        """Now, as ``transfer`` takes it."""
        return self._clock()

    def transfer(self, size: int, begun: float) -> None:
        """Waits until ``size`` bytes that began to flow at ``begun``, or when the line was free, are through."""
        end = begun
        if self._rate is not None:
            with self._lock:
                self._free_at = max(begun - self._ahead_s, self._free_at) + size / self._rate
                end = self._free_at
        if self._connection_rate is not None:
            end = max(end, begun + size / self._connection_rate)
        if (wait := end - self._clock()) > 0:
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
        self._spec, self._sleep = spec, sleep
        self._lock, self._random = threading.Lock(), random.Random(spec.seed)
        own = spec.connection_bytes_s
        self.up = _Direction(spec.upload_bytes_s, spec.upload_burst_bytes, own, clock, sleep)
        self.down = _Direction(spec.download_bytes_s, spec.download_burst_bytes, own, clock, sleep)

    def request(self) -> None:
        """Waits for one request's latency; requests do not wait for one another."""
        latency_s = self._spec.latency_s
        if self._spec.latency_sigma:
            with self._lock:
                latency_s *= self._random.lognormvariate(0.0, self._spec.latency_sigma)
        if latency_s:
            self._sleep(latency_s)


class ThrottledStore(Store):
    """As fast as its link."""

    def __init__(self, store: Store, link: Link) -> None:
        self._store, self._link = store, link

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        self._link.request()
        self._link.up.transfer(len(body), self._link.up.begin())
        return self._store.put(key, body, if_absent=if_absent)

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        self._link.request()
        begun = self._link.down.begin()  # bytes flow while the store reads: its own time is not on top of the link's
        data = self._store.get(key, within_s=within_s, found=found)
        self._link.down.transfer(len(data), begun)
        return data

    def delete(self, key: str) -> None:
        self._link.request()
        self._store.delete(key)

    def held(self, prefix: str) -> Iterator[Held]:
        self._link.request()
        return self._store.held(prefix)
