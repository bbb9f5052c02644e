"""What autograd keeps from forward to backward, layer by layer, each piece of memory counted once.

A tensor that one layer returns and the next one keeps is one piece of memory, as are views of it. It belongs to the
first layer that keeps it; behind a cut in between, the stage that starts there holds a copy of its own.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


class KeptTensors:
    """Watches one forward pass. Parameters and buffers (``ignored``) do not count: they are there anyway."""

    def __init__(self, ignored: Iterable[torch.Tensor]) -> None:
        self._ignored = {_storage(tensor)[0] for tensor in ignored}
        self._alive: list[torch.Tensor] = []
        self._kept: list[dict[int, int]] = []
        self._inputs: list[dict[int, int]] = []
        self._outputs: list[dict[int, int]] = []

    def _pieces(self, values: Iterable[Any]) -> dict[int, int]:
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        self._alive += tensors  # an address must not be used again while it is being counted
        return {address: size for address, size in map(_storage, tensors) if size and address not in self._ignored}

    def enter(self, values: Iterable[Any]) -> None:
        """The next layer begins; ``values`` are what it is given."""
        self._inputs.append(self._pieces(values))
        self._kept.append({})

    def leave(self, values: Iterable[Any]) -> None:
        """The layer is done; ``values`` are what it returned."""
        self._outputs.append(self._pieces(values))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Records what is kept by what runs inside."""

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            self._kept[-1] |= self._pieces([tensor])
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield

    def _before(self, layer: int) -> set[int]:
        return {address for kept in self._kept[:layer] for address in kept}

    def first_kept_bytes(self, layer: int) -> int:
        """Bytes that this layer keeps and none before it."""
        before = self._before(layer)
        return sum(size for address, size in self._kept[layer].items() if address not in before)

    def shared_input_bytes(self, layer: int) -> int:
        """Bytes of this layer's input that a layer before keeps, and again this one or one after."""
        before = self._before(layer)
        again = {address for kept in self._kept[layer:] for address in kept}
        return sum(size for address, size in self._inputs[layer].items() if address in before and address in again)

    def output_kept(self, layer: int) -> bool:
        """Whether all that this layer returns is kept by it or a layer before it."""
        return set(self._outputs[layer]) <= self._before(layer + 1)
