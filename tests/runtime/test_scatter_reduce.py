import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from runtime.codec import decode, encode
from runtime.keys import GangKeys
from runtime.mailbox import Received
from runtime.manifest import StageSynchronisation
from runtime.scatter_reduce.gradient_sum import GradientSum
from runtime.synchronisation import SMALLEST_PIECE_BYTES, Algorithm, Exchange

WIDE = SMALLEST_PIECE_BYTES // 4 * 5 + 3
"""Elements of the first parameter: with two replicas a split is cut into three pieces of float32, not evenly."""


class Hub:
    """A stage's inbox in memory, shared by its replicas; receiving waits until the object is there."""

    def __init__(self):
        self.objects, self.changed = {}, threading.Condition()
        self.senders, self.receivers = ThreadPoolExecutor(8), ThreadPoolExecutor(512)
        self.puts = self.gets = 0

    def send_sync(self, iteration, key, bundle):
        def put():
            with self.changed:
                assert key not in self.objects, "a key is written once"
                self.objects[key] = bytes(encode(bundle))  # readers must not share what they may write to
                self.puts += 1
                self.changed.notify_all()

        return self.senders.submit(put)

    def receive_sync(self, iteration, key):
        def wait():
            with self.changed:
                assert self.changed.wait_for(lambda: key in self.objects, timeout=60)
                self.gets += 1
                return Received(decode(self.objects[key]), 0, 0.0, 0.0)

        return self.receivers.submit(wait)

    def discard(self, key):
        with self.changed:
            del self.objects[key]


def parameters(replica, wide=WIDE):
    """Three parameters; the last has a gradient on no replica, the second on every other one."""
    generator = torch.Generator().manual_seed(replica)
    made = [nn.Parameter(torch.zeros(shape)) for shape in ((wide,), (4,), (2,))]
    made[0].grad = torch.randn(wide, generator=generator)
    if replica % 2 == 0:
        made[1].grad = torch.randn(4, generator=generator)
    return made


def reduce_all(algorithm, made, iterations=1):
    """Sums ``made`` (per iteration, a function of the replica) in threads; returns the inbox and one of the workers."""
    hub, replicas = Hub(), len(made)
    gradients = [[p.grad for p in mine] for mine in made]
    settings = StageSynchronisation(algorithm=algorithm, piece_bytes=SMALLEST_PIECE_BYTES)
    workers = [
        GradientSum(hub, GangKeys("run", 0, 0), settings=settings, replica=r, replicas=replicas, parameters=made[r])
        for r in range(replicas)
    ]
    for iteration in range(iterations):
        for mine, own in zip(made, gradients, strict=True):
            for parameter, gradient in zip(mine, own, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()
        with ThreadPoolExecutor(replicas) as pool:
            for future in [pool.submit(worker, iteration) for worker in workers]:
                future.result()
    return hub, workers[0]


@pytest.mark.parametrize("replicas", [2, 3, 4, 8])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_replica_has_the_same_bits_the_sum_in_replica_order(algorithm, replicas):
    made, inputs = ([parameters(r) for r in range(replicas)] for _ in range(2))
    reduce_all(algorithm, made)
    total, second = inputs[0][0].grad.clone(), torch.zeros(4)
    for r in range(1, replicas):
        total += inputs[r][0].grad
    for r in range(0, replicas, 2):
        second += inputs[r][1].grad
    for mine in made:
        assert torch.equal(mine[0].grad, total)
        assert torch.equal(mine[1].grad, second)
        assert mine[2].grad is None, "no replica had one"


@pytest.mark.parametrize("algorithm", Algorithm)
def test_an_owner_with_an_empty_split_takes_part(algorithm):
    made = [[nn.Parameter(torch.zeros(2))] for _ in range(5)]
    for r, [parameter] in enumerate(made):
        parameter.grad = torch.full((2,), float(r))
    reduce_all(algorithm, made)
    assert [p[0].grad.tolist() for p in made] == [[10.0, 10.0]] * 5


@pytest.mark.parametrize("replicas", [2, 5])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_consumed_objects_are_deleted_and_what_is_left_is_known(algorithm, replicas):
    hub, worker = reduce_all(algorithm, [parameters(r) for r in range(replicas)], iterations=3)
    assert sorted(hub.objects) == sorted(worker.left_behind(2))


@pytest.mark.parametrize("replicas", [2, 3, 7])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_requests_are_those_that_the_planner_counts(algorithm, replicas):
    made = [parameters(r) for r in range(replicas)]
    size = sum(4 * p.numel() for p in made[0])
    hub, _ = reduce_all(algorithm, made)
    exchange = Exchange(
        gradient_bytes=size, replicas=replicas, bandwidth=1.0, latency_s=1.0, piece_bytes=SMALLEST_PIECE_BYTES
    )
    assert (hub.puts, hub.gets) == (exchange.puts(algorithm), exchange.gets(algorithm))


def test_pieces_are_no_larger_than_asked_for():
    sizes = []

    class Measuring(Hub):
        def send_sync(self, iteration, key, bundle):
            sizes.append(bundle["part"].nbytes)
            return super().send_sync(iteration, key, bundle)

    hub, made = Measuring(), [parameters(r) for r in range(2)]
    settings = StageSynchronisation(algorithm=Algorithm.PIECE_PIPELINED, piece_bytes=SMALLEST_PIECE_BYTES)
    sums = [
        GradientSum(hub, GangKeys("run", 0, 0), settings=settings, replica=r, replicas=2, parameters=made[r])
        for r in range(2)
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: one(0), sums))
    assert len(sizes) == 2 * 2 * 3
    assert max(sizes) <= SMALLEST_PIECE_BYTES
