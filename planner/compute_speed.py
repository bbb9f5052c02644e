"""Seconds of compute at a memory size, from what was measured by thread count or by memory size."""

from collections.abc import Sequence
from itertools import accumulate, pairwise


def by_vcpus(threads: Sequence[int], seconds: Sequence[float], vcpus: float) -> float:
    """Seconds on ``vcpus`` cores' worth of time, from those by thread count, of which the first is 1.

    Below one vCPU a function is given that share of one core's time. Above, Amdahl's law holds: 1 - p + p/vcpus of the
    time of one thread, where p is fitted to all thread counts by least squares and lies between 0 and 1.
    """
    one = seconds[0]
    if vcpus <= 1:
        return one / vcpus
    spared = [1 - 1 / count for count in threads]
    weight = sum(each * each for each in spared)
    if weight == 0 or one == 0:
        return one
    parallel = sum(each * (1 - took / one) for each, took in zip(spared, seconds, strict=True)) / weight
    parallel = min(1.0, max(0.0, parallel))
    return one * (1 - parallel + parallel / vcpus)


def by_memory(sizes_mb: Sequence[int], seconds: Sequence[float], memory_mb: float) -> float:
    """Seconds at ``memory_mb``, from those measured at ascending memory sizes.

    Speed is linear between two sizes, a share of the first below it, and the last one's above it: no more is promised
    than was seen. More memory never makes slower, since a function may leave vCPUs idle.
    """
    least = list(accumulate(seconds, min))
    if least[-1] == 0:
        return 0.0
    if memory_mb <= sizes_mb[0]:
        return least[0] * sizes_mb[0] / memory_mb
    for (low, slow), (high, fast) in pairwise(zip(sizes_mb, least, strict=True)):
        if memory_mb <= high:
            share = (memory_mb - low) / (high - low)
            return 1 / ((1 - share) / slow + share / fast)
    return least[-1]
