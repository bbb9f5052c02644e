import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from runtime.codec import decode, encode
from runtime.keys import GangKeys
from runtime.mailbox import Received
from runtime.scatter_reduce import ScatterReduce


class Hub:
    """A stage's inbox in memory, shared by its replicas; receiving waits until the object is there."""

    def __init__(self):
        self.objects, self.changed = {}, threading.Condition()
        self.pool = ThreadPoolExecutor(64)
        self.puts = 0

    def send_sync(self, iteration, key, bundle):
        with self.changed:
            assert key not in self.objects, "a key is written once"
            self.objects[key] = encode(bundle)
            self.puts += 1
            self.changed.notify_all()

    def receive_sync(self, iteration, key):
        def wait():
            with self.changed:
                assert self.changed.wait_for(lambda: key in self.objects, timeout=60)
                return Received(decode(self.objects[key]), 0, 0.0, 0.0)

        return self.pool.submit(wait)

    def discard(self, key):
        with self.changed:
            del self.objects[key]


def parameters(replica, dtype=torch.float32):
    """Three parameters; the last has a gradient on no replica, the second on every other one."""
    generator = torch.Generator().manual_seed(replica)
    made = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in ((3, 5), (4,), (2,))]
    made[0].grad = torch.randn(3, 5, generator=generator, dtype=dtype)
    if replica % 2 == 0:
        made[1].grad = torch.randn(4, generator=generator, dtype=dtype)
    return made


def reduce_all(replicas, iterations=1):
    hub, gang = Hub(), GangKeys("run", 0, 0)
    workers = [ScatterReduce(hub, gang, r, replicas) for r in range(replicas)]
    results = []
    for iteration in range(iterations):
        made = [parameters(r) for r in range(replicas)]
        with ThreadPoolExecutor(replicas) as pool:
            done = [pool.submit(worker, iteration, mine) for worker, mine in zip(workers, made, strict=True)]
            for future in done:
                future.result()
        results.append(made)
    return hub, workers, results


@pytest.mark.parametrize("replicas", [2, 3, 4, 8])
def test_every_replica_has_the_same_bits_the_sum_in_replica_order(replicas):
    _, _, [made] = reduce_all(replicas)
    inputs = [parameters(r) for r in range(replicas)]
    total = inputs[0][0].grad.clone()
    for r in range(1, replicas):
        total += inputs[r][0].grad
    second = sum(inputs[r][1].grad for r in range(0, replicas, 2))
    for mine in made:
        assert torch.equal(mine[0].grad, total)
        torch.testing.assert_close(mine[1].grad, second)
        assert torch.equal(mine[1].grad, made[0][1].grad)
        assert mine[2].grad is None, "no replica had one"


def test_an_owner_with_an_empty_split_takes_part():
    hub, gang = Hub(), GangKeys("run", 0, 0)
    made = [[nn.Parameter(torch.zeros(2))] for _ in range(5)]
    for r, [parameter] in enumerate(made):
        parameter.grad = torch.full((2,), float(r))
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda r: ScatterReduce(hub, gang, r, 5)(0, made[r]), range(5)))
    assert [p[0].grad.tolist() for p in made] == [[10.0, 10.0]] * 5


def test_consumed_objects_are_deleted_and_the_last_merged_ones_remain_for_the_end():
    hub, workers, _ = reduce_all(4, iterations=3)
    assert hub.puts == 3 * (4 * 3 + 4), "n-1 splits and one merged split each"
    assert sorted(hub.objects) == [GangKeys("run", 0, 0).merged(2, owner) for owner in range(4)]
    for worker in workers:
        worker.discard_published()
    assert hub.objects == {}
