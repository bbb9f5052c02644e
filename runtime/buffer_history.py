"""What a stage's buffers held before each forward pass that is going to be computed again.

A layer may change its buffers in its forward pass: batch norm counts, spectral norm goes on with its power iteration.
Computing the pass again must begin where the first one did, and must leave no trace:

    forward of 0   forward of 1   forward of 0 again                      buffers afterwards
    state a ─► b   state b ─► c   sees a, changes it, which is dropped    c

Buffers that never change cost one copy; one that changes costs a copy for each pass that is yet to be repeated.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

_Place = tuple[nn.Module, str]
Snapshot = dict[_Place, torch.Tensor | None]
"""Copies of all buffers at one time; copies of what did not change in between are shared."""


def _same(buffer: torch.Tensor | None, copy: torch.Tensor | None) -> bool:
    if buffer is None or copy is None:
        return buffer is copy
    return buffer.dtype == copy.dtype and torch.equal(buffer, copy)


class BufferHistory:
    """Copies of the buffers of ``layers``; ``note`` must follow each pass that is to leave its traces.

    Values are compared: batch norm changes its statistics without counting up their version.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self._modules = {module for layer in layers for module in layer.modules()}
        self._copies: Snapshot = {}
        self.note()

    def note(self) -> None:
        """Copies what has changed."""
        copied: dict[int, torch.Tensor] = {}  # two names of one tensor stay one tensor
        for module in self._modules:
            for name, buffer in module._buffers.items():
                place = (module, name)
                if place in self._copies and _same(buffer, self._copies[place]):
                    continue
                if buffer is not None and id(buffer) not in copied:
                    copied[id(buffer)] = buffer.detach().clone()
                self._copies[place] = None if buffer is None else copied[id(buffer)]

    def snapshot(self) -> Snapshot:
        """The buffers as they are now."""
        return dict(self._copies)

    @contextmanager
    def rewound(self, snapshot: Snapshot) -> Iterator[None]:
        """Inside, the buffers are as they were at ``snapshot``, which is used up; afterwards, as before."""
        changed = [place for place, copy in snapshot.items() if self._copies[place] is not copy]
        before = {(module, name): module._buffers[name] for module, name in changed}
        for module, name in changed:
            module._buffers[name] = snapshot[module, name]
        try:
            yield
        finally:
            for (module, name), buffer in before.items():
                module._buffers[name] = buffer
