"""A stage's gradients as one flat vector, summed over its replicas, and back."""

import torch
from torch import nn

from runtime.keys import GangKeys
from runtime.manifest import StageSynchronisation
from runtime.scatter_reduce.all_to_all import AllToAll
from runtime.scatter_reduce.piece_pipelined import PiecePipelined
from runtime.scatter_reduce.pipelined import Pipelined
from runtime.scatter_reduce.plain import Plain
from runtime.scatter_reduce.reduction import Mail, Reduction
from runtime.synchronisation import Algorithm, piece_count

REDUCTIONS: dict[Algorithm, type[Reduction]] = {
    Algorithm.PLAIN: Plain,
    Algorithm.PIPELINED: Pipelined,
    Algorithm.PIECE_PIPELINED: PiecePipelined,
    Algorithm.ALL_TO_ALL: AllToAll,
}


class GradientSum:
    """Call it once per iteration, on every replica of the stage.

    Micro-batches' losses are already weighted with their share of the global batch, so the sum is the mean over the
    global batch.

    Args:
        mail: the stage's own inbox.
        parameters: the stage's trainable ones, the same on every replica.
    """

    def __init__(
        self,
        mail: Mail,
        gang: GangKeys,
        *,
        settings: StageSynchronisation,
        replica: int,
        replicas: int,
        parameters: list[nn.Parameter],
    ) -> None:
        self._parameters = parameters
        size = sum(p.numel() * p.element_size() for p in parameters)
        pieces = piece_count(size, replicas, settings.piece_bytes)
        self._reduction = REDUCTIONS[settings.algorithm](mail, gang, replica, replicas, pieces)

    def __call__(self, iteration: int) -> None:
        """Replaces each parameter's ``grad`` by the sum over all replicas; it stays None where all have None."""
        parameters = self._parameters
        flat = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).detach().reshape(-1) for p in parameters]
        )
        present = sum(1 << index for index, p in enumerate(parameters) if p.grad is not None)
        for parameter in parameters:
            parameter.grad = None
        present = self._reduction.add(iteration, flat, present)
        offset = 0
        for index, parameter in enumerate(parameters):
            if present >> index & 1:
                parameter.grad = flat[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    def left_behind(self, iteration: int) -> list[str]:
        """Names of what all replicas leave in the inbox after their last iteration, for whoever ends the segment."""
        reduction = self._reduction
        return [name for replica in range(reduction.replicas) for name in reduction.published(iteration, replica)]
