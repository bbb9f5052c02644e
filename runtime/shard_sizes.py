"""How a data set is cut into shards (``runtime.shards``): what the planner has to know of it. No torch."""

SHARD_BYTES = 8 << 20
"""Inputs and targets of one shard; several shards fit into the smallest function beside its model."""
CACHED_SHARDS = 2
"""That a worker holds of each field."""


def samples_per_shard(sample_bytes: int) -> int:
    """Of all shards but the last one, which may have fewer; ``sample_bytes`` of one input and its target."""
    return max(1, SHARD_BYTES // max(1, sample_bytes))


def shard_sizes(samples: int, sample_bytes: int) -> list[int]:
    """Samples of each shard, in the data factory's order."""
    step = samples_per_shard(sample_bytes)
    return [min(step, samples - start) for start in range(0, samples, step)]
