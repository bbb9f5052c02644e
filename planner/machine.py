"""What this machine adds to what its workers do: found by doing the same at once and after a rest.

    object        rest ──► another thread: encode, PUT over a link      ──► less what the link takes
    instruction   rest ──► a small layer's forward or backward pass     ──► less one without a rest

Workers rest most of the time, for links: threads wake, caches are cold, and of several threads one has Python's lock.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, median

import torch

from planner.graph import Delays
from planner.pass_times import threads_set
from planner.rounding import significant
from runtime.codec import decode, encode
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import Link, LinkSpec, ThrottledStore

REPEATS = 10
RESTS_S = (0.003, 0.03, 0.1, 0.3)
OBJECT_BYTES = 1 << 17
LINK = LinkSpec(upload_bytes_s=16 << 20, download_bytes_s=16 << 20, latency_s=0.01)
FEATURES, SAMPLES = 64, 32
"""Of the layer."""


def measure_delays(folder: Path) -> Delays:
    """Takes about 20 s; objects are written into a new folder below ``folder``."""
    with threads_set(1):
        return Delays(
            tuple((rest_s, significant(_instruction_s(rest_s))) for rest_s in RESTS_S),
            tuple((rest_s, significant(_object_s(folder, rest_s))) for rest_s in RESTS_S),
        )


def _seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _rested(rest_s: float, act: Callable[[], object]) -> float:
    time.sleep(rest_s)
    return _seconds(act)


def _usual(seconds: list[float]) -> float:
    """The mean, without the tenth that took longest: then something else had the core."""
    return fmean(sorted(seconds)[: max(1, len(seconds) - len(seconds) // 10)])


def _object_s(folder: Path, rest_s: float) -> float:
    bundle = {"x": torch.zeros(OBJECT_BYTES // 4)}
    size = len(encode(bundle))
    assert LINK.upload_bytes_s is not None
    nominal_s = LINK.latency_s + size / LINK.upload_bytes_s
    out, back = [], []
    with ThreadPoolExecutor(1) as lane:
        store = ThrottledStore(DirectoryStore(folder), Link(LINK))
        for number in range(REPEATS):
            key = f"delays-{number % 2}"
            out.append(_rested(rest_s, lambda key=key: lane.submit(lambda: store.put(key, encode(bundle))).result()))
            back.append(_rested(rest_s, lambda key=key: lane.submit(lambda: decode(store.get(key))).result()))
    return max(0.0, _usual([seconds - nominal_s for seconds in [*out, *back]]))


def _instruction_s(rest_s: float) -> float:
    layer = torch.nn.Sequential(torch.nn.Linear(FEATURES, FEATURES), torch.nn.ReLU())
    samples = torch.ones(SAMPLES, FEATURES)
    added = []
    for rested in (False, True):
        measure = partial(_rested, rest_s) if rested else _seconds
        forward, backward = [], []
        for _ in range(REPEATS):
            outputs: list[torch.Tensor] = []
            forward.append(measure(lambda outputs=outputs: outputs.append(layer(samples).sum())))
            backward.append(measure(outputs[0].backward))
        added.append([median(forward), median(backward)] if not rested else [_usual(forward), _usual(backward)])
    hot, cold = added
    return max(0.0, fmean(after - at_once for after, at_once in zip(cold, hot, strict=True)))
