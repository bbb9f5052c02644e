"""Figures of a profile's layers and boundaries, and what ranges of layers have of them.

All take numbers of boundaries either as integers, or as columns of these for many ranges at once: then what they return
are columns, too. The same formula serves a stage and a hundred thousand, to the bit.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate

import numpy

from planner.profile_format import Profile

Index = int | numpy.ndarray
"""Of one, or of many."""
Figure = int | float | numpy.ndarray
"""Likewise."""


class Figures:
    """One figure for each number from 0 on."""

    def __init__(self, values: Iterable[float]) -> None:
        self._values = list(values)

    @cached_property
    def _column(self) -> numpy.ndarray:
        return numpy.array(self._values)

    def at(self, index: Index) -> Figure:
        return self._values[index] if isinstance(index, int) else self._column[index]


class Sums:
    """Of one figure of each layer; those of layers ``first`` to ``end - 1`` together."""

    def __init__(self, values: Iterable[float]) -> None:
        self._until = Figures(accumulate(values, initial=0))

    def between(self, first: Index, end: Index) -> Figure:
        return self._until.at(end) - self._until.at(first)


class Largest:
    """Of one figure of each layer; the largest of layers ``first`` to ``end - 1``."""

    def __init__(self, values: Sequence[int]) -> None:
        self._values = values

    @cached_property
    def _table(self) -> numpy.ndarray:
        size = len(self._values) + 1
        found = numpy.zeros((size, size), dtype=int)
        for first in range(size - 1):
            found[first, first + 1 :] = numpy.maximum.accumulate(self._values[first:])
        return found

    def between(self, first: Index, end: Index) -> Figure:
        return max(self._values[first:end]) if isinstance(first, int) else self._table[first, end]


def whole(bytes_: Figure) -> Figure:
    """Rounded to whole bytes."""
    return numpy.rint(bytes_).astype(int) if isinstance(bytes_, numpy.ndarray) else round(bytes_)


class LayerSums:
    """Bytes of one profile. Those of a boundary are one micro-batch's."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        layers, count = profile.layers, len(profile.layers)
        self.activation = Sums(layer.activation_bytes for layer in layers)
        self.parameter = Sums(layer.parameter_bytes for layer in layers)
        self.trainable = Sums(layer.trainable_parameter_bytes for layer in layers)
        self.buffer = Sums(layer.buffer_bytes for layer in layers)
        entering = [profile.input_bytes, *(layer.output_bytes for layer in layers)]
        self.entering = Figures(entering)
        """By boundary: what enters the layer behind it."""
        self.widest = Largest([entering[layer] + entering[layer + 1] for layer in range(count)])
        """While one of these layers runs, its input and output (or their gradients), of one micro-batch, at most."""
        self.passed = Figures([0, *entering[1:-1], 0])
        """By boundary: what goes from one stage to another there."""
        self.returned = Figures([0, *(layer.gradient_bytes for layer in layers[:-1]), 0])
        """Likewise, of gradients."""
        self.opens = Figures([1, *[0] * count])
        """By boundary: whether a stage that begins there is the first."""
        self.closes = Figures([*[0] * count, 1])
        """By boundary: whether a stage that ends there is the last."""
