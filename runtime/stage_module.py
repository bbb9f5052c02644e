"""Forward and backward of one stage's layers, one micro-batch at a time.

Before layer l (numbered over the whole model) runs forward on micro-batch m of iteration i, torch's generator is seeded
with ``derive_seed(seed, "layer", l, i, m)``: dropout is the same under every plan. Batch norm sees one micro-batch, as
in GPipe.

    received ──► layer a ──► ... ──► layer b ──► output (kept with its graph until backward)
        ▲ gradient of each floating tensor            │ gradient received, or the weighted loss
        └──────────────────────────◄──────────────────┘
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from runtime.batches import MicroBatch
from runtime.codec import Bundle, pack, unpack
from runtime.factories import Loss
from runtime.seeds import derive_seed


class _Entry(torch.autograd.Function):
    """Where a received tensor enters the stage's graph; leaves its gradient in ``caught``.

    The tensor is marked as changed in place rather than made a leaf: a leaf that requires a gradient could not be
    changed by an in-place first layer (``nn.ReLU(inplace=True)``), and a copy would cost its memory.
    """

    @staticmethod
    def forward(ctx: Any, token: torch.Tensor, received: torch.Tensor, caught: Bundle, name: str) -> torch.Tensor:
        ctx.mark_dirty(received)
        ctx.caught, ctx.name = caught, name
        return received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None, None, None]:  # type: ignore[override]
        ctx.caught[ctx.name] = gradient
        return None, None, None, None


class StageModule:
    """Executes one stage. A micro-batch's graph is kept from ``forward`` to ``backward``.

    Args:
        layers: the stage's layers, their weights loaded.
        first_layer: number of the first one in the whole model.
        seed: the job's.
        loss: on the last stage; else None.
        is_first: whether it is fed with samples; else with what a stage before sent, which then gets gradients back.
    """

    def __init__(
        self, layers: nn.Sequential, *, first_layer: int, seed: int, loss: Loss | None, is_first: bool
    ) -> None:
        self.layers = list(layers._modules.values())
        for layer in self.layers:
            layer.train()
        self._first_layer, self._seed, self._loss, self._is_first = first_layer, seed, loss, is_first
        self._kept: dict[int, tuple[Bundle, Bundle]] = {}

    def forward(self, iteration: int, micro_batch: MicroBatch, received: Bundle, target: torch.Tensor | None) -> Bundle:
        """Runs the layers on what the stage before sent (or on the input samples).

        Returns:
            What the next stage gets; on the last stage {"loss": scalar}, the micro-batch's share of the mean loss.
        """
        caught: Bundle = {}
        value: Any = unpack(received if self._is_first else self._enter(received, caught))
        for offset, layer in enumerate(self.layers):
            layer_number = self._first_layer + offset
            # Not torch.manual_seed: without a GPU that formats a traceback each time, 0.6 ms.
            torch.default_generator.manual_seed(
                derive_seed(self._seed, "layer", layer_number, iteration, micro_batch.index)
            )
            value = layer(value)
        output = pack(value) if self._loss is None else {"loss": self._loss(value, target) * micro_batch.weight}
        self._kept[micro_batch.index] = (output, caught)
        return output

    @staticmethod
    def _enter(received: Bundle, caught: Bundle) -> Bundle:
        token = torch.empty(0, requires_grad=True)
        return {
            name: _Entry.apply(token, value, caught, name)
            if isinstance(value, torch.Tensor) and value.is_floating_point()
            else value
            for name, value in received.items()
        }

    def backward(self, micro_batch: MicroBatch, gradients: Bundle | None) -> Bundle:
        """Adds the micro-batch's gradients to the parameters'.

        Args:
            gradients: of what ``forward`` returned, by name; None on the last stage.

        Returns:
            The gradient of each floating tensor that was received, by name; absent where the loss does not need it.
        """
        output, caught = self._kept.pop(micro_batch.index)
        roots: list[torch.Tensor] = []
        root_gradients: list[torch.Tensor | None] = []
        for name, value in output.items():
            gradient = None if gradients is None else gradients.get(name)
            wanted = gradients is None or isinstance(gradient, torch.Tensor)
            if isinstance(value, torch.Tensor) and value.requires_grad and wanted:
                roots.append(value)
                root_gradients.append(gradient if isinstance(gradient, torch.Tensor) else None)
        if roots:
            torch.autograd.backward(roots, root_gradients)
        return caught
