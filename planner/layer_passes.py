"""Passes over a model's layers on one micro-batch, one layer after the other, timed one by one.

Each layer is cut off from its neighbours as at a stage boundary, and gets the gradients that really arrive:

    x ─► layer 0 ─┤├─► layer 1 ─┤├─► ... ─► loss          forward: timed one by one
       ◄─────────┤├◄──────────┤├◄─── ... ◄──┘            backward: likewise
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from planner.kept_tensors import KeptTensors
from runtime.codec import Bundle, encode, layout, pack, unpack
from runtime.errors import UserInputError
from runtime.factories import Loss, named_layers
from runtime.seeds import derive_seed

STEP_REPEATS = 5


@dataclass
class PassTimes:
    """Seconds of each layer, one entry per pass."""

    forward: list[list[float]]
    backward: list[list[float]]
    loss: list[float] = field(default_factory=list)

    @classmethod
    def empty(cls, passes: "LayerPasses") -> "PassTimes":
        return cls([[] for _ in passes.layers], [[] for _ in passes.layers])


@dataclass(frozen=True)
class Boundary:
    """Bytes of one layer's output and of that output's gradient, as they are sent and without the header."""

    output_bytes: int
    output_payload: int
    gradient_bytes: int
    gradient_payload: int


def _lengths(bundle: Bundle) -> tuple[int, int]:
    data = encode(bundle)
    header, whole = layout(data)
    return len(data), whole - header


@contextmanager
def _blaming(what: str, value: Any) -> Iterator[None]:
    """Turns whatever the user's layer or loss raises into a message that names it and its input."""
    try:
        yield
    except UserInputError:
        raise
    except Exception as error:  # the user's code may raise anything
        shapes = ", ".join(
            f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"
            if isinstance(leaf, torch.Tensor)
            else repr(leaf)
            for name, leaf in _leaves(value).items()
        )
        raise UserInputError(
            f"{what} failed on one micro-batch (its input: {shapes}): {type(error).__name__}: {error}. "
            "Correct the model, or the data that its factory returns."
        ) from error


def _leaves(value: Any) -> Bundle:
    bundle = pack(value)
    return {name: leaf for name, leaf in bundle.items() if name != "structure"}


def _floating(bundle: Bundle) -> dict[str, torch.Tensor]:
    return {name: leaf for name, leaf in bundle.items() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()}


def _cut(value: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """``value`` as a stage receives it, and the leaves in which its gradients will arrive.

    Floating tensors are copies of the leaves, because an in-place layer must not write into a leaf.
    """
    bundle = pack(value)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in _floating(bundle).items()}
    return unpack({**bundle, **{name: leaf.clone() for name, leaf in leaves.items()}}), leaves


def _backward(output: Any, gradients: dict[str, torch.Tensor]) -> None:
    roots = {name: tensor for name, tensor in _floating(pack(output)).items() if tensor.requires_grad}
    present = [name for name in roots if name in gradients]
    if present:
        torch.autograd.backward([roots[name] for name in present], [gradients[name] for name in present])


class LayerPasses:
    """One model, one micro-batch. Several of them may share a model."""

    def __init__(
        self, model: nn.Sequential, loss: Loss, inputs: torch.Tensor, targets: torch.Tensor, seed: int
    ) -> None:
        self.layers = [layer.train() for _, layer in named_layers(model)]
        self.names = [type(layer).__name__[:64] for layer in self.layers]
        self._loss, self._inputs, self._targets, self._seed = loss, inputs, targets, seed

    @property
    def micro_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets."""
        return self._inputs, self._targets

    def _run(self, index: int, value: Any) -> Any:
        with _blaming(f"layer {index} ({self.names[index]})", value):
            torch.manual_seed(derive_seed(self._seed, "layer", index, 0, 0))
            return self.layers[index](value)

    def _loss_of(self, value: Any) -> torch.Tensor:
        with _blaming("the loss", (value, self._targets)):
            loss = self._loss(value, self._targets)
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
                is_tensor = isinstance(loss, torch.Tensor)
                returned = f"tensor of shape {list(loss.shape)}" if is_tensor else type(loss).__name__
                raise UserInputError(
                    f"the loss must be a scalar tensor that depends on the model's parameters (returned: {returned})"
                )
            return loss

    def boundaries(self) -> tuple[list[Boundary], KeptTensors]:
        """What each layer returns, as it is sent; what all layers keep, the loss counting as one more layer."""
        kept = KeptTensors(tensor for layer in self.layers for tensor in [*layer.parameters(), *layer.buffers()])
        found: list[Boundary] = []
        value: Any = self._inputs.clone()
        for index in range(len(self.layers)):
            kept.enter(_leaves(value).values())
            with kept.watching():
                value = self._run(index, value)
            with _blaming(f"layer {index} ({self.names[index]})", None):
                bundle = pack(value)
            kept.leave(_leaves(value).values())
            found.append(Boundary(*_lengths(bundle), *_lengths(_floating(bundle))))
        kept.enter(_leaves(value).values())
        with kept.watching():
            loss = self._loss_of(value)
        kept.leave(())
        # Whole, as in one stage: the timed passes are cut at every layer, which hides a layer that overwrites in place
        # what the one before it needs.
        with _blaming("the backward pass through all layers", None):
            loss.backward()
        return found, kept

    def pass_once(self, times: PassTimes | None) -> None:
        """One forward and backward of everything; adds to ``times`` when given."""
        outputs: list[Any] = []
        entered: list[dict[str, torch.Tensor]] = []
        forward, backward = [], []
        value: Any = self._inputs.clone()
        for index in range(len(self.layers)):
            leaves: dict[str, torch.Tensor] = {}
            if index:
                value, leaves = _cut(value)
            begin = perf_counter()
            value = self._run(index, value)
            forward.append(perf_counter() - begin)
            outputs.append(value)
            entered.append(leaves)
        last, loss_leaves = _cut(value)
        begin = perf_counter()
        self._loss_of(last).backward()
        loss_s = perf_counter() - begin
        gradients = self._arrived(loss_leaves)
        for index in reversed(range(len(self.layers))):
            begin = perf_counter()
            _backward(outputs[index], gradients)
            backward.append(perf_counter() - begin)
            gradients = self._arrived(entered[index])
        if times is not None:
            times.loss.append(loss_s)
            for index, seconds in enumerate(forward):
                times.forward[index].append(seconds)
            for index, seconds in enumerate(reversed(backward)):
                times.backward[index].append(seconds)

    @staticmethod
    def _arrived(leaves: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    def step_s(self, index: int, build: Callable[[Any], torch.optim.Optimizer | None]) -> float:
        """Median seconds of the optimiser's step on one layer."""
        optimizer = build(self.layers[index].parameters())
        if optimizer is None:
            return 0.0
        seconds = []
        for _ in range(STEP_REPEATS):
            begin = perf_counter()
            optimizer.step()
            seconds.append(perf_counter() - begin)
        return median(seconds)
