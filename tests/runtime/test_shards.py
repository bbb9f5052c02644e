import pytest
import torch

from runtime import shard_sizes
from runtime.dataset import load_dataset
from runtime.shards import ShardReader, epoch_order, write_shards
from runtime.spec import DataSpec
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import CountingStore, TrafficCounter
from tests.gangs import SOURCE


@pytest.fixture
def dataset():
    return load_dataset(DataSpec(factory="tiny:data"), SOURCE)


def reader(store, index, field="input", seed=3):
    return ShardReader(store=store, index=index, field=field, seed=seed)


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    orders = [epoch_order(1, epoch, [4, 4, 2]).tolist() for epoch in (0, 1)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1]
    assert epoch_order(1, 0, [4, 4, 2]).tolist() == orders[0]
    assert epoch_order(2, 0, [4, 4, 2]).tolist() != orders[0]


def test_samples_of_a_shard_stay_together():
    order = epoch_order(1, 0, [4, 4, 4])
    assert [len({int(i) // 4 for i in order[k : k + 4]}) for k in (0, 4, 8)] == [1, 1, 1]


@pytest.mark.parametrize("shard_bytes", [1, 7 * 40, 1 << 20])
def test_batches_are_the_data_in_epoch_order_whatever_the_shards(tmp_path, monkeypatch, dataset, shard_bytes):
    monkeypatch.setattr(shard_sizes, "SHARD_BYTES", shard_bytes)
    store = DirectoryStore(tmp_path)
    index = write_shards(dataset, store)
    assert sum(index.train) == 50
    order = epoch_order(3, 2, index.train)
    inputs, targets = reader(store, index), reader(store, index, "target")
    for start, size in ((0, 7), (7, 40), (47, 3)):
        assert torch.equal(inputs.batch(2, start, size), dataset.train_inputs[order[start : start + size]])
        assert torch.equal(targets.batch(2, start, size), dataset.train_targets[order[start : start + size]])


def test_shards_are_written_once_and_read_once(tmp_path, dataset):
    counter = TrafficCounter()
    store = CountingStore(DirectoryStore(tmp_path), counter)
    index = write_shards(dataset, store)
    written = counter.traffic.puts
    assert write_shards(dataset, store) == index
    assert counter.traffic.puts == written
    source, before = reader(store, index), counter.traffic.gets
    for start in range(0, 50, 5):
        source.batch(0, start, 5)
    assert counter.traffic.gets - before == 1
