import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from runtime.codec import decode, encode
from runtime.errors import FuncpipeError
from runtime.keys import GangKeys
from runtime.mailbox import Received
from runtime.manifest import StageSynchronisation
from runtime.scatter_reduce.contribution import EXACT, Dense
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


class Mail:
    """One replica's: its tasks in turn are its own, its inbox is all replicas'."""

    def __init__(self, hub):
        self.send_sync, self.receive_sync, self.discard = hub.send_sync, hub.receive_sync, hub.discard
        self.in_turn = ThreadPoolExecutor(1).submit


def parameters(replica, wide=WIDE):
    """Three parameters; the last has a gradient on no replica, the second on every other one."""
    generator = torch.Generator().manual_seed(replica)
    made = [nn.Parameter(torch.zeros(shape)) for shape in ((wide,), (4,), (2,))]
    made[0].grad = torch.randn(wide, generator=generator)
    if replica % 2 == 0:
        made[1].grad = torch.randn(4, generator=generator)
    return made


def reduce_all(algorithm, made, iterations=1, bucket_bytes=None, encoding=EXACT):
    """Sums the gradients of ``made``, by replica, in threads; returns the inbox and one of the workers."""
    hub, replicas = Hub(), len(made)
    gradients = [[p.grad for p in mine] for mine in made]
    settings = StageSynchronisation(algorithm=algorithm, piece_bytes=SMALLEST_PIECE_BYTES, bucket_bytes=bucket_bytes)
    workers = [
        GradientSum(
            Mail(hub),
            GangKeys("run", 0, 0),
            settings=settings,
            replica=r,
            replicas=replicas,
            parameters=made[r],
            encoding=encoding,
        )
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


@pytest.mark.parametrize("bucket_bytes", [None, 3 * SMALLEST_PIECE_BYTES], ids=["whole", "buckets"])
@pytest.mark.parametrize("replicas", [2, 3, 4, 8])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_replica_has_the_same_bits_the_sum_in_replica_order(algorithm, replicas, bucket_bytes):
    made, inputs = ([parameters(r) for r in range(replicas)] for _ in range(2))
    reduce_all(algorithm, made, bucket_bytes=bucket_bytes)
    total, second = inputs[0][0].grad.clone(), torch.zeros(4)
    for r in range(1, replicas):
        total += inputs[r][0].grad
    for r in range(0, replicas, 2):
        second += inputs[r][1].grad
    for mine in made:
        assert torch.equal(mine[0].grad, total)
        assert torch.equal(mine[1].grad, second)
        assert mine[2].grad is None, "no replica had one"


@pytest.mark.parametrize("bucket_bytes", [None, SMALLEST_PIECE_BYTES], ids=["whole", "buckets"])
@pytest.mark.parametrize("replicas", [2, 3, 4])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_in_bfloat16_all_have_the_same_bits_within_the_stated_bound(algorithm, replicas, bucket_bytes):
    made, inputs = ([parameters(r) for r in range(replicas)] for _ in range(2))
    reduce_all(algorithm, made, iterations=2, bucket_bytes=bucket_bytes, encoding=Dense(torch.bfloat16))
    own = [mine[0].grad for mine in inputs]
    total = own[0].bfloat16().float()
    for gradient in own[1:]:
        total += gradient.bfloat16().float()  # added in float32, whatever travels
    for mine in made:
        assert torch.equal(mine[0].grad, total.bfloat16().float())
        assert mine[0].grad.dtype == torch.float32
        assert torch.equal(mine[1].grad, made[0][1].grad)
        assert mine[2].grad is None
    unit, additions = 2.0**-8, (replicas - 1) * 2.0**-24
    error = (made[0][0].grad.double() - sum(gradient.double() for gradient in own)).abs()
    bound = ((1 + unit) ** 2 * (1 + 2 * additions) - 1) * sum(gradient.double().abs() for gradient in own)
    assert (error <= bound).all()
    assert (error > bound / 4).any(), "a bound worth stating"


def test_in_bfloat16_half_as_much_travels_in_pieces_as_large():
    travelled = {}
    for encoding in (EXACT, Dense(torch.bfloat16)):
        hub, _ = reduce_all(Algorithm.PIECE_PIPELINED, [parameters(r) for r in range(2)], encoding=encoding)
        # What is left are the sums: a quarter of all bytes, in as many objects.
        travelled[encoding.dtype] = [len(body) for body in hub.objects.values()], hub.puts
    (exact, many), (narrow, few) = travelled[None], travelled[torch.bfloat16]
    assert many == 2 * few - 4, "3 pieces of a split, and then 2"
    headers = 200 * len(exact)
    assert sum(narrow) < sum(exact) / 2 + headers
    assert max(narrow) > SMALLEST_PIECE_BYTES / 2


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
    made = [parameters(r) for r in range(replicas)]
    hub, worker = reduce_all(algorithm, made, iterations=3, bucket_bytes=3 * SMALLEST_PIECE_BYTES)
    assert sorted(hub.objects) == sorted(worker.left_behind(2))


@pytest.mark.parametrize("bucket_bytes", [None, 100_001])
@pytest.mark.parametrize("replicas", [2, 3, 7])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_requests_are_those_that_the_planner_counts(algorithm, replicas, bucket_bytes):
    made = [parameters(r) for r in range(replicas)]
    size = sum(4 * p.numel() for p in made[0])
    hub, _ = reduce_all(algorithm, made, bucket_bytes=bucket_bytes)
    exchange = Exchange(
        gradient_bytes=size,
        replicas=replicas,
        bandwidth=1.0,
        latency_s=1.0,
        piece_bytes=SMALLEST_PIECE_BYTES,
        bucket_bytes=bucket_bytes,
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
        GradientSum(Mail(hub), GangKeys("run", 0, 0), settings=settings, replica=r, replicas=2, parameters=made[r])
        for r in range(2)
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: one(0), sums))
    assert len(sizes) == 2 * 2 * 3
    assert max(sizes) <= SMALLEST_PIECE_BYTES


class Chain(nn.Module):
    """Layers of one parameter each, every one 2 KiB; ``used`` says which take part, in order, some more than once."""

    def __init__(self, layers=6):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.full((512,), 1.0 + i)) for i in range(layers))
        self.used = range(layers)

    def forward(self, value):
        for index in self.used:
            value = value * self.weights[index]
        return value.sum()


class Log(Mail):
    """Notes when sums start, beside what the model's own hooks note."""

    def __init__(self, hub, events):
        super().__init__(hub)
        run = self.in_turn

        def in_turn(task):
            events.append("sum")
            return run(task)

        self.in_turn = in_turn


def chains(algorithm, replicas, used, rounds, bucket_bytes=4096):
    """Gradients of ``rounds`` backward passes by replica, summed in buckets of two layers, and what began when."""
    hub, models, events = Hub(), [Chain() for _ in range(replicas)], [[] for _ in range(replicas)]
    settings = StageSynchronisation(algorithm=algorithm, bucket_bytes=bucket_bytes)
    sums = [
        GradientSum(
            Log(hub, events[r]),
            GangKeys("run", 0, 0),
            settings=settings,
            replica=r,
            replicas=replicas,
            parameters=list(models[r].parameters()),
        )
        for r in range(replicas)
    ]

    def train(r):
        for number in range(rounds):
            for parameter in models[r].parameters():
                parameter.grad = None
            models[r].used = used(r, number)
            loss = models[r](torch.linspace(r + 1.0, r + 2.0, 512)) if models[r].used else None
            events[r].clear()
            if loss is not None:
                sums[r].begin(number)
                loss.backward()
            events[r].append("backward done")
            sums[r](number)
        return [p.grad for p in models[r].parameters()]

    with ThreadPoolExecutor(replicas) as pool:
        return list(pool.map(train, range(replicas))), events


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_sums_begin_while_backward_goes_on_and_have_the_same_bits(algorithm, replicas):
    def everything(r, number):
        return range(6)

    bucketed, events = chains(algorithm, replicas, everything, rounds=2)
    whole, _ = chains(algorithm, replicas, everything, rounds=2, bucket_bytes=None)
    assert events == [["sum", "sum", "sum", "backward done"]] * replicas
    for mine, theirs in zip(bucketed, whole, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("algorithm", Algorithm)
def test_buckets_start_in_one_order_whatever_each_replica_computes(algorithm):
    """Layers in another order, layers that one replica or all leave out, and a replica without a micro-batch."""

    def some(r, number):
        return [[0, 1, 2, 3, 4], [4, 3, 1, 0], []][r]

    bucketed, events = chains(algorithm, 3, some, rounds=3)
    whole, _ = chains(algorithm, 3, some, rounds=3, bucket_bytes=None)
    for mine in bucketed:
        assert mine[5] is None and mine[2] is not None
        assert all(torch.equal(a, b) for a, b in zip(mine[:5], whole[0][:5], strict=True))
    assert events[2] == ["backward done", "sum", "sum", "sum"]


def test_a_weight_that_is_used_twice_is_final_once():
    def tied(r, number):
        return [0, 1, 2, 3, 4, 5, 5, 0]

    bucketed, events = chains(Algorithm.PIECE_PIPELINED, 2, tied, rounds=2)
    whole, _ = chains(Algorithm.PIECE_PIPELINED, 2, tied, rounds=2, bucket_bytes=None)
    assert all(torch.equal(a, b) for a, b in zip(bucketed[0], whole[0], strict=True))
    assert events[0][-1] == "backward done"


def nested(model):
    """A backward pass within the backward pass for every layer, as reentrant checkpoints make it."""
    value = torch.linspace(1.0, 2.0, 512, requires_grad=True)
    for index in model.used:
        value = checkpoint(lambda v, index=index: v * model.weights[index], value, use_reentrant=True)
    return value.sum()


@pytest.mark.parametrize("first", [[0, 1, 2, 3, 4, 5, 5], [0, 1, 2, 3, 4, 5]], ids=["seen", "unforeseen"])
def test_a_gradient_that_comes_in_two_parts_is_waited_for_or_told(first):
    hub, models = Hub(), [Chain(), Chain()]
    settings = StageSynchronisation(algorithm=Algorithm.ALL_TO_ALL, bucket_bytes=4096)
    sums = [
        GradientSum(
            Mail(hub), GangKeys("run", 0, 0), settings=settings, replica=r, replicas=2, parameters=[*m.parameters()]
        )
        for r, m in enumerate(models)
    ]

    def train(r, number, used):
        models[r].zero_grad()
        models[r].used = used
        loss = nested(models[r])
        sums[r].begin(number)
        loss.backward()
        sums[r](number)

    twice = [0, 1, 2, 3, 4, 5, 5]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda r: train(r, 0, first), range(2)))
    if first == twice:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda r: train(r, 1, twice), range(2)))
        alone = Chain()
        alone.used = twice
        nested(alone).backward()
        assert torch.equal(models[0].weights[5].grad, 2 * alone.weights[5].grad)
    else:
        with pytest.raises(FuncpipeError, match=r"shape \(512,\) got gradients twice.*use_reentrant=False"):
            train(0, 1, twice)
