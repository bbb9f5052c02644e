"""The planner's count of what an iteration moves beside what the runtime's own sums move, byte by byte."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from planner.cost_model import CostModel
from planner.platforms import PLATFORMS
from planner.traffic import IterationTraffic
from runtime.codec import encode, encoded_bytes, narrowed
from runtime.keys import GangKeys
from runtime.manifest import Architecture, StageSynchronisation
from runtime.records import Traffic
from runtime.scatter_reduce.contribution import Dense
from runtime.scatter_reduce.gradient_sum import GradientSum
from runtime.spec import WireSpec, WireType
from runtime.synchronisation import SMALLEST_PIECE_BYTES, Algorithm
from tests.planner.profiles import MIB, make_layer, make_profile, make_training
from tests.runtime.test_scatter_reduce import Hub, Mail

SIZES = ((40_003,), (17, 3))
"""Of the parameters of the stage's two layers."""


class Measured(Hub):
    """The stage's inbox, which adds up the bytes of what passes."""

    def __init__(self):
        super().__init__()
        self.bytes_up = self.bytes_down = self.deletes = 0

    def send_sync(self, iteration, key, bundle):
        size = len(encode(bundle))
        with self.changed:
            self.bytes_up += size
        return super().send_sync(iteration, key, bundle)

    def receive_sync(self, iteration, key):
        def read():
            received = waiting.result()
            with self.changed:
                self.bytes_down += len(self.objects[key])
            return received

        waiting = super().receive_sync(iteration, key)
        return self.receivers.submit(read)

    def discard(self, key):
        with self.changed:
            self.deletes += 1
        super().discard(key)


@pytest.mark.parametrize("wire", [WireType.NATIVE, WireType.BFLOAT16])
@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_sum_moves_what_is_predicted_to_the_byte(algorithm, replicas, wire):
    layers = [make_layer(parameter_mib=4 * torch.Size(shape).numel() / MIB) for shape in SIZES]
    model = CostModel(
        profile=make_profile(layers),
        platform=PLATFORMS["aws-lambda"],
        training=make_training(),
        architecture=Architecture.X86_64,
        wire=WireSpec(gradients=wire),
    )
    costs = replace(model.stage(0, len(layers), 1769, replicas, algorithm), piece_bytes=SMALLEST_PIECE_BYTES)
    predicted = IterationTraffic(model, [costs], [1, 1]).total()

    hub = Measured()
    encoding = Dense(torch.bfloat16 if wire is WireType.BFLOAT16 else None)
    workers = []
    for replica in range(replicas):
        parameters = [nn.Parameter(torch.zeros(shape)) for shape in SIZES]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        settings = StageSynchronisation(algorithm=algorithm, piece_bytes=SMALLEST_PIECE_BYTES)
        workers.append(
            GradientSum(
                Mail(hub),
                GangKeys("run", 0, 0),
                settings=settings,
                replica=replica,
                replicas=replicas,
                parameters=parameters,
                encoding=encoding,
            )
        )
    with ThreadPoolExecutor(replicas) as pool:
        for future in [pool.submit(worker, 0) for worker in workers]:
            future.result()
    left = len(workers[0].left_behind(0))
    assert predicted == Traffic(
        puts=hub.puts,
        gets=hub.gets,
        deletes=hub.deletes + left,
        bytes_up=hub.bytes_up,
        bytes_down=hub.bytes_down,
    )


def test_boundary_objects_are_as_long_as_the_profile_saw_them():
    model = CostModel(
        profile=make_profile([make_layer(output_mib=2.0), make_layer()]),
        platform=PLATFORMS["aws-lambda"],
        training=make_training(),
        architecture=Architecture.X86_64,
    )
    stages = [model.stage(0, 1, 1769, 1), model.stage(1, 2, 1769, 1)]
    traffic = IterationTraffic(model, stages, [2, 2])
    each = model.micro_batches * 2 * MIB
    first = Traffic(
        puts=model.micro_batches, gets=model.micro_batches, deletes=model.micro_batches, bytes_up=each, bytes_down=each
    )
    assert traffic.of(0, 0) == traffic.of(1, 0) == first


@pytest.mark.parametrize("narrow", [None, torch.bfloat16])
def test_the_length_of_an_object_is_known_without_its_tensors(narrow):
    def bundle(device):
        tensor = torch.zeros(7, 3, device=device)
        return {"present": "1f", "part": narrowed(tensor, narrow), "index": torch.zeros(5, dtype=torch.int64)}

    assert encoded_bytes(bundle("meta")) == len(encode(bundle("cpu")))
