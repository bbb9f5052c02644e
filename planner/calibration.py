"""Measures a store as workers use it, and writes what it measured into a platform (docs/platform.md).

    1 KB, one at a time      ──►  latency of a PUT and of a GET
    large, IN_FLIGHT at once ──►  bandwidth up and down, the latency taken off

All objects lie under a prefix of their own and are deleted again, whatever ends the measurement.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from uuid import uuid4

from planner.graph import Delays
from planner.platform_format import parse_platform
from planner.platforms import FOLDER, PLATFORMS
from planner.rounding import significant
from runtime.errors import UserInputError
from runtime.pacing import IN_FLIGHT
from runtime.store import Store

SMALL_BYTES = 1_024
OBJECTS = 2 * IN_FLIGHT
"""Large ones of each repetition."""


@dataclass(frozen=True)
class Measured:
    """Of one store, from where this ran. Seconds and bytes/s, medians of ``repeats``."""

    get_latency_s: float
    put_latency_s: float
    download: float
    upload: float
    repeats: int
    object_bytes: int


@contextmanager
def _swept(store: Store) -> Iterator[str]:
    """A prefix for the objects of one measurement; none of them is left."""
    prefix = f"calibrate-{uuid4().hex}-"
    try:
        yield prefix
    finally:
        for key in list(store.list(prefix)):
            store.delete(key)


def measure_store(store: Store, *, repeats: int, object_bytes: int) -> Measured:
    """Measures; writes at most OBJECTS objects of ``object_bytes`` at a time.

    Raises:
        FuncpipeError, or what the store raises: it does not answer.
    """
    small, large = os.urandom(SMALL_BYTES), os.urandom(object_bytes)
    with _swept(store) as prefix:
        put_s, get_s = [], []
        for turn in range(repeats):
            key = f"{prefix}small-{turn}"
            put_s.append(_seconds(lambda key=key: store.put(key, small)))
            get_s.append(_seconds(lambda key=key: store.get(key)))
        put_latency_s, get_latency_s = median(put_s), median(get_s)
        keys = [f"{prefix}large-{number}" for number in range(OBJECTS)]
        up, down = [], []
        for _ in range(repeats):
            up.append(_bandwidth(keys, lambda key: store.put(key, large), object_bytes, put_latency_s))
            down.append(_bandwidth(keys, store.get, object_bytes, get_latency_s))
    return Measured(get_latency_s, put_latency_s, median(down), median(up), repeats, object_bytes)


def _seconds(act: Callable[[], object]) -> float:
    begin = perf_counter()
    act()
    return perf_counter() - begin


def _bandwidth(keys: Sequence[str], act: Callable[[str], object], object_bytes: int, latency_s: float) -> float:
    """Bytes/s of all transfers together. The pool ends with its threads, so that none writes after the sweep."""
    pool = ThreadPoolExecutor(IN_FLIGHT)
    begin = perf_counter()
    try:
        for done in [pool.submit(act, key) for key in keys]:
            done.result()
        took = perf_counter() - begin
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    # One latency cannot be hidden; it is never more than half of what was seen.
    return len(keys) * object_bytes / max(took - latency_s, took / 2)


def base_document(base: str) -> dict[str, Any]:
    """The platform to begin with, as it stands in its file. Raises UserInputError when it cannot be used."""
    path = FOLDER / f"{base}.json" if base in PLATFORMS else Path(base)
    try:
        text = path.read_bytes()
    except OSError as error:
        known = ", ".join(PLATFORMS)
        raise UserInputError(f"{base}: {error.strerror}. Name a platform file, or one of: {known}.") from None
    parse_platform(text, base)
    document: dict[str, Any] = json.loads(text)
    return document


def _rising(points: list[list[float]]) -> list[list[float]]:
    """Points of a bandwidth that does not fall: neighbours that do share their mean (pool adjacent violators)."""
    pools: list[tuple[float, list[float]]] = []
    for memory, bandwidth in points:
        pools.append((bandwidth, [memory]))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (slow, high), (fast, low) = pools.pop(), pools.pop()
            mean = (slow * len(high) + fast * len(low)) / (len(high) + len(low))
            pools.append((mean, [*low, *high]))
    return [[memory, significant(bandwidth)] for bandwidth, memories in pools for memory in memories]


def calibrated(
    document: dict[str, Any],
    measured: Measured,
    *,
    name: str,
    memory_mb: int,
    url: str,
    day: str,
    update: bool,
    delays: Delays | None = None,
    worker_bytes: int | None = None,
) -> str:
    """The platform file's text: ``document`` with the figures measured at ``memory_mb``.

    Args:
        delays: of the machine that all workers run on, if they do (``planner.machine``).
        worker_bytes: that a worker of it takes before it holds anything.
        update: whether ``document`` holds points measured before, at other memory sizes, that stay.

    Raises:
        UserInputError: the figures are none that a platform may have.
    """
    links = document["links"]
    kept = {
        "download": links["download"] if update else [],
        "upload": (links.get("upload") or links["download"]) if update else [],
    }
    source = {
        "source": f"funcpipe calibrate {url}: medians of {measured.repeats}, objects of {measured.object_bytes} bytes"[
            :200
        ],
        "date": day,
    }
    new_links = {
        way: _rising(sorted([*(point for point in kept[way] if point[0] != memory_mb), [memory_mb, bandwidth]]))
        for way, bandwidth in (("download", measured.download), ("upload", measured.upload))
    }
    requests = {key: value for key, value in document["requests"].items() if key not in ("source", "date")}
    requests |= {
        "get_latency_s": significant(measured.get_latency_s),
        "put_latency_s": significant(measured.put_latency_s),
    }
    new = {"name": name, "links": {**new_links, **source}, "requests": {**requests, **source}}
    if delays is not None:
        told = {"source": "funcpipe calibrate: after a rest, and at once", "date": day}
        new["machine"] = {**asdict(delays), "worker_bytes": worker_bytes, **told}
    text = json.dumps({**document, **new}, indent=2)
    parse_platform(text, name)
    return text + "\n"
