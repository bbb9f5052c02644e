"""Data in the artifact bucket: written as shards, read as micro-batches in a seeded order that no plan changes.

Shard k of a split holds the next ``samples_per_shard`` consecutive samples of the data factory's own order (the last
shard holds the rest). The order of epoch e comes from one generator g = torch.Generator().manual_seed(
derive_seed(seed, "order", e)): shards in the order of torch.randperm(shards, generator=g), and within each, taken
in that order, its samples by torch.randperm(samples of the shard, generator=g). So a global batch touches few shards,
and a data set of one shard is shuffled fully.
"""

from collections import OrderedDict
from itertools import accumulate

import torch

from runtime import keys
from runtime.codec import decode, encode
from runtime.dataset import Dataset
from runtime.records import ShardIndex
from runtime.seeds import derive_seed
from runtime.shard_sizes import CACHED_SHARDS, samples_per_shard
from runtime.store import KeyNotFound, Store


def write_shards(dataset: Dataset, store: Store) -> ShardIndex:
    """Stores the data set under its digest, index last; does nothing when it is there already."""
    try:
        return ShardIndex.model_validate_json(store.get(keys.data_index(dataset.sha256)))
    except KeyNotFound:
        pass
    sizes: dict[str, list[int]] = {"train": [], "test": []}
    splits = {
        "train": (dataset.train_inputs, dataset.train_targets),
        "test": (dataset.test_inputs, dataset.test_targets),
    }
    for split, (inputs, targets) in splits.items():
        if inputs is None or targets is None:
            continue
        step = samples_per_shard(sum(tensor[0].numel() * tensor.element_size() for tensor in (inputs, targets)))
        for shard, start in enumerate(range(0, len(inputs), step)):
            for field, tensor in (("input", inputs), ("target", targets)):
                key = keys.data_shard(dataset.sha256, split, field, shard)
                store.put(key, encode({field: tensor[start : start + step]}))
            sizes[split].append(len(inputs[start : start + step]))
    index = ShardIndex(dataset_sha256=dataset.sha256, train=sizes["train"], test=sizes["test"])
    store.put(keys.data_index(dataset.sha256), index.model_dump_json().encode())
    return index


def _drawn(seed: int, epoch: int, shards: int) -> tuple[list[int], torch.Generator]:
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(shards, generator=generator).tolist(), generator


def shard_order(seed: int, epoch: int, shards: int) -> list[int]:
    """Numbers of the shards, in the order of epoch ``epoch``."""
    return _drawn(seed, epoch, shards)[0]


def epoch_order(seed: int, epoch: int, shard_sizes: list[int]) -> torch.Tensor:
    """Sample numbers of the data factory's order, in the order of epoch ``epoch``: int64 [samples]."""
    shards, generator = _drawn(seed, epoch, len(shard_sizes))
    starts = [0, *accumulate(shard_sizes)]
    return torch.cat([starts[s] + torch.randperm(shard_sizes[s], generator=generator) for s in shards])


class ShardReader:
    """Reads one field ("input" or "target") of the training split by position in an epoch's order."""

    def __init__(self, *, store: Store, index: ShardIndex, field: str, seed: int) -> None:
        self._store, self._index, self._field, self._seed = store, index, field, seed
        self._begins = [0, *accumulate(index.train)][:-1]
        self._ends = torch.tensor(list(accumulate(index.train)))
        self._cache: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._order: tuple[int, torch.Tensor] | None = None

    def _shard(self, shard: int) -> torch.Tensor:
        if shard not in self._cache:
            data = self._store.get(keys.data_shard(self._index.dataset_sha256, "train", self._field, shard))
            tensor = decode(data)[self._field]
            assert isinstance(tensor, torch.Tensor)
            self._cache[shard] = tensor
        self._cache.move_to_end(shard)
        while len(self._cache) > CACHED_SHARDS:
            self._cache.popitem(last=False)
        return self._cache[shard]

    def holds(self, epoch: int, start: int, size: int) -> bool:
        """Whether ``batch`` of the same would read nothing from storage; while nobody calls that."""
        shards, _ = self._shards(self._wanted(epoch, start, size))
        return all(shard in self._cache for shard in shards)

    def batch(self, epoch: int, start: int, size: int) -> torch.Tensor:
        """Samples at positions ``start`` to ``start + size`` of the epoch's order, [size, ...]; one caller at once."""
        wanted = self._wanted(epoch, start, size)
        shards, counts = self._shards(wanted)
        parts = [
            self._shard(shard)[part - self._begins[shard]]
            for shard, part in zip(shards, wanted.split(counts), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _wanted(self, epoch: int, start: int, size: int) -> torch.Tensor:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._seed, epoch, self._index.train))
        return self._order[1][start : start + size]

    def _shards(self, wanted: torch.Tensor) -> tuple[list[int], list[int]]:
        """The shards that hold these samples, and how many of them each; an epoch takes one shard after the other."""
        shards, counts = torch.unique_consecutive(
            torch.searchsorted(self._ends, wanted, right=True), return_counts=True
        )
        return shards.tolist(), counts.tolist()
