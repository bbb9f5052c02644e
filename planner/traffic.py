"""What one iteration of a plan moves through the inboxes, to the byte: boundary objects and summed gradients.

Boundary objects are as long as the profile saw them, so the figures hold for global batches whose micro-batches all
have the size that was profiled, with native wire types for activations. Parts of gradients are laid out as
``runtime.scatter_reduce`` cuts them. GETs that find nothing yet, which depend on chance, are not in it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

from planner.cost_model import CostModel
from planner.stage_costs import StageCosts
from runtime.codec import encoded_bytes, narrowed
from runtime.factories import TORCH_DTYPES, WIRE_DTYPES
from runtime.pacing import range_count
from runtime.records import Traffic
from runtime.synchronisation import Algorithm, piece_count


def _cut(size: int, parts: int) -> list[int]:
    """Sizes of the parts of ``runtime.scatter_reduce.reduction.cut``."""
    return [end - begin for begin, end in pairwise(size * index // parts for index in range(parts + 1))]


class IterationTraffic:
    """See the module docstring.

    Args:
        tensors: number of trainable parameters of each layer, which the objects of a sum name as present or not.
    """

    def __init__(self, model: CostModel, stages: Sequence[StageCosts], tensors: Sequence[int]) -> None:
        self._model, self._stages, self._tensors = model, stages, tensors
        self._dtype = TORCH_DTYPES[model.training.dtype]
        self._wire = WIRE_DTYPES[model.wire.gradients]

    def of(self, index: int, replica: int) -> Traffic:
        """Of one worker: replica ``replica`` of stage ``index``."""
        costs, layers = self._stages[index], self._model.profile.layers
        share = len(range(replica, self._model.micro_batches, costs.replicas))
        up: list[int] = []
        down: list[int] = []
        if costs.first > 0:
            down.append(layers[costs.first - 1].output_bytes)
            up.append(layers[costs.first - 1].gradient_bytes)
        if costs.end < len(layers):
            up.append(layers[costs.end - 1].output_bytes)
            down.append(layers[costs.end - 1].gradient_bytes)
        sent, received = self._summed(costs, replica)
        consumed = share * sum(map(range_count, down))
        return Traffic(
            puts=share * sum(map(range_count, up)) + len(sent),
            gets=consumed + len(received),
            deletes=consumed + self._discarded(costs),
            bytes_up=share * sum(up) + sum(sent),
            bytes_down=share * sum(down) + sum(received),
        )

    def total(self) -> Traffic:
        """Of all workers."""
        places = [(index, replica) for index, costs in enumerate(self._stages) for replica in range(costs.replicas)]
        each = [self.of(*place) for place in places]
        return Traffic(**{name: sum(getattr(one, name) for one in each) for name in Traffic.model_fields})

    def _elements(self, costs: StageCosts) -> int:
        layers = self._model.profile.layers[costs.first : costs.end]
        return sum(layer.trainable_parameter_bytes for layer in layers) // self._dtype.itemsize

    def _pieces(self, costs: StageCosts) -> int:
        if costs.algorithm is not Algorithm.PIECE_PIPELINED:
            return 1
        wire = self._wire or self._dtype
        return piece_count(self._elements(costs) * wire.itemsize, costs.replicas, costs.piece_bytes)

    def _discarded(self, costs: StageCosts) -> int:
        """Objects of the sum that one replica deletes: splits that were sent to it, and what it has published."""
        if costs.replicas == 1 or not self._elements(costs):
            return 0
        if costs.algorithm is Algorithm.ALL_TO_ALL:
            return 1
        return self._pieces(costs) * costs.replicas

    def _summed(self, costs: StageCosts, replica: int) -> tuple[list[int], list[int]]:
        """Bytes of each object of the sum that a replica sends, and of each that it receives."""
        n, elements = costs.replicas, self._elements(costs)
        if n == 1 or not elements:
            return [], []
        mask = f"{(1 << sum(self._tensors[costs.first : costs.end])) - 1:x}"
        others = [other for other in range(n) if other != replica]
        if costs.algorithm is Algorithm.ALL_TO_ALL:
            whole = self._part(elements, mask)
            return [whole], [whole] * (n - 1)
        splits = [list(self._parts(size, self._pieces(costs))) for size in _cut(elements, n)]
        contributed = [[self._part(size, mask) for size in sizes] for sizes in splits]
        merged = [[self._part(size) for size in sizes] for sizes in splits]
        sent = [size for owner in others for size in contributed[owner]] + merged[replica]
        received = contributed[replica] * (n - 1) + [size for owner in others for size in merged[owner]]
        return sent, received

    @staticmethod
    def _parts(size: int, pieces: int) -> Iterator[int]:
        yield from _cut(size, pieces)

    def _part(self, elements: int, mask: str | None = None) -> int:
        part = narrowed(torch.empty(elements, dtype=self._dtype, device="meta"), self._wire)
        return encoded_bytes({"part": part} if mask is None else {"present": mask, "part": part})
