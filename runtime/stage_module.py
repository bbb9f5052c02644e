"""Forward and backward of one stage's layers, one micro-batch at a time.

Before layer l (numbered over the whole model) runs forward on micro-batch m of iteration i, torch's generator is seeded
with ``derive_seed(seed, "layer", l, i, m)``: dropout is the same under every plan. Batch norm sees one micro-batch, as
in GPipe.

    received ──► layer a ──► ... ──► layer b ──► output (kept with its graph until backward)
        ▲ gradient of each floating tensor            │ gradient received, or the weighted loss
        └──────────────────────────◄──────────────────┘
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from runtime.batches import MicroBatch
from runtime.buffer_history import BufferHistory, Snapshot
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


@dataclass(frozen=True)
class _Pass:
    """A forward pass whose backward is to come."""

    output: Bundle
    caught: Bundle
    """Receives the gradient of each floating tensor that came in."""


@dataclass(frozen=True)
class _Input:
    """What a forward pass that will be repeated began with."""

    iteration: int
    received: Bundle
    target: torch.Tensor | None
    buffers: Snapshot


def _copied(bundle: Bundle) -> Bundle:
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in bundle.items()}


class StageModule:
    """Executes one stage. A micro-batch's graph, or its input, is kept from ``forward`` to ``backward``.

    Args:
        layers: the stage's layers, their weights loaded.
        first_layer: number of the first one in the whole model.
        seed: the job's.
        loss: on the last stage; else None.
        is_first: whether it is fed with samples; else with what a stage before sent, which then gets gradients back.
        recompute: whether to keep the input rather than the graph.
    """

    def __init__(
        self,
        layers: nn.Sequential,
        *,
        first_layer: int,
        seed: int,
        loss: Loss | None,
        is_first: bool,
        recompute: bool = False,
    ) -> None:
        self.layers = list(layers._modules.values())
        for layer in self.layers:
            layer.train()
        self._first_layer, self._seed, self._loss, self._is_first = first_layer, seed, loss, is_first
        self._buffers = BufferHistory(self.layers) if recompute else None
        self._kept: dict[int, _Pass | _Input] = {}

    def forward(self, iteration: int, micro_batch: MicroBatch, received: Bundle, target: torch.Tensor | None) -> Bundle:
        """Runs the layers on what the stage before sent (or on the input samples). May change ``received``.

        Returns:
            What the next stage gets; on the last stage {"loss": scalar}, the micro-batch's share of the mean loss.
        """
        if self._buffers is None:
            kept = self._run(iteration, micro_batch, received, target)
            self._kept[micro_batch.index] = kept
            return kept.output
        self._kept[micro_batch.index] = _Input(iteration, received, target, self._buffers.snapshot())
        # Layers may write into what they are given, and what they return may be a part of it. They build a graph here,
        # too, because some operations have another kernel without: it goes when the output leaves it.
        output = self._run(iteration, micro_batch, _copied(received), None if target is None else target.clone()).output
        self._buffers.note()
        return {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in output.items()}

    def _run(self, iteration: int, micro_batch: MicroBatch, received: Bundle, target: torch.Tensor | None) -> _Pass:
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
        return _Pass(output, caught)

    def _again(self, micro_batch: MicroBatch, begun: _Input) -> _Pass:
        assert self._buffers is not None
        with self._buffers.rewound(begun.buffers):
            return self._run(begun.iteration, micro_batch, begun.received, begun.target)

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
        kept = self._kept.pop(micro_batch.index)
        if isinstance(kept, _Input):
            kept = self._again(micro_batch, kept)
        roots: list[torch.Tensor] = []
        root_gradients: list[torch.Tensor | None] = []
        for name, value in kept.output.items():
            gradient = None if gradients is None else gradients.get(name)
            wanted = gradients is None or isinstance(gradient, torch.Tensor)
            if isinstance(value, torch.Tensor) and value.requires_grad and wanted:
                roots.append(value)
                root_gradients.append(gradient if isinstance(gradient, torch.Tensor) else None)
        if roots:
            torch.autograd.backward(roots, root_gradients)
        return kept.caught
