"""What a plan's workers fetch of the data set: whole shards (``runtime.shards``), of which they hold CACHED_SHARDS.

A data set of no more shards comes down once, before a worker's first micro-batch, and never again. Of a larger one each
micro-batch is taken to bring its own samples, which is what the shards come to over an epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.platforms import Platform
from planner.profile_format import Profile
from planner.stage_costs import StageCosts
from runtime.shard_sizes import CACHED_SHARDS, shard_sizes


@dataclass(frozen=True)
class SampleLoads:
    """Seconds on the link of a worker, by stage."""

    first_s: tuple[float, ...]
    """From the first load's request until its samples are there: those of one shard."""
    each_s: tuple[float, ...]
    """What the samples of a full micro-batch take of the transfers that the cost model adds them to."""
    cached: bool
    """Whether a worker holds all samples once it has seen them."""


def _first_shard(sizes: list[int], seed: int) -> int:
    """Samples of the shard that the first epoch begins with."""
    if len(sizes) == 1:
        return sizes[0]
    from runtime.shards import shard_order  # imports torch

    return sizes[shard_order(seed, 0, len(sizes))[0]]


def sample_loads(profile: Profile, platform: Platform, stages: Sequence[StageCosts], seed: int) -> SampleLoads:
    """Of a plan's stages: inputs on the first one, targets on the last one."""
    samples = profile.dataset.train_samples
    measured = min(profile.micro_batch_size, samples)
    sizes = shard_sizes(samples, (profile.input_bytes + profile.target_bytes) // measured)
    first = _first_shard(sizes, seed)
    first_s, each_s = [], []
    for index, costs in enumerate(stages):
        bandwidth = platform.bandwidth(costs.memory_mb)
        fields = [profile.input_bytes] * (index == 0) + [profile.target_bytes] * (index == len(stages) - 1)
        shard_s = (size / measured * first / bandwidth for size in fields)
        first_s.append(sum(platform.get_latency_s + seconds for seconds in shard_s))
        each_s.append(sum(fields) / bandwidth)
    return SampleLoads(tuple(first_s), tuple(each_s), len(sizes) <= CACHED_SHARDS)
