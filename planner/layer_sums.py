"""A profile's layers, summed over ranges. Bytes."""

from functools import cached_property
from itertools import accumulate

from planner.profile_format import Profile

_NAMES = ("activation_bytes", "parameter_bytes", "trainable_parameter_bytes", "buffer_bytes")


class LayerSums:
    """Of one profile, by prefix sums."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @cached_property
    def _sums(self) -> dict[str, list[int]]:
        return {name: [0, *accumulate(getattr(layer, name) for layer in self.profile.layers)] for name in _NAMES}

    def total(self, name: str, first: int, end: int) -> int:
        """Of a field of layers ``first`` to ``end - 1``."""
        return self._sums[name][end] - self._sums[name][first]

    def boundary_bytes(self, boundary: int) -> int:
        """Bytes of one micro-batch that enter layer ``boundary``."""
        return self.profile.input_bytes if boundary == 0 else self.profile.layers[boundary - 1].output_bytes

    @cached_property
    def _widest(self) -> list[int]:
        count = len(self.profile.layers)
        return [self.boundary_bytes(layer) + self.boundary_bytes(layer + 1) for layer in range(count)]

    def widest(self, first: int, end: int) -> int:
        """While one of these layers runs, its input and output (or their gradients), of one micro-batch, at most."""
        return max(self._widest[first:end])
