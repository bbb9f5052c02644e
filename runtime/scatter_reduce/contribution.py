"""How a replica's contribution travels, and how contributions become one: the seam for other encodings and rules.

All replicas must end with the same bits, and an owner never reads its own objects. So whoever sends a part first
settles it: replaces it by what its receivers will read. It is rounded once as a contribution and once as a sum; with
the unit roundoff u of the type on the wire, 2⁻⁸ for bfloat16, and besides the rounding of additions

    |sum received - exact sum| ≤ ((1 + u)² - 1) · Σ |contribution|
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from runtime.codec import Bundle, Outgoing, narrowed


class Encoding(Protocol):
    """Between a part of a flat gradient (or of a sum) and the entries of an object."""

    def settle(self, part: torch.Tensor) -> None:
        """Replaces ``part``, in place, by what ``decode`` makes of ``encode``."""

    def encode(self, part: torch.Tensor) -> Outgoing:
        """Entries that stand for ``part``; may refer to it, and is read only when its upload begins."""
        ...

    def decode(self, bundle: Bundle) -> torch.Tensor:
        """The part, in the element type that it had."""
        ...


Aggregation = Callable[[Iterable[torch.Tensor]], torch.Tensor]
"""Makes one part of those of all replicas, which come in the order of the replicas and may be changed."""


@dataclass(frozen=True)
class Dense:
    """Every element, as ``dtype`` where that is narrower than its own type; None sends all as they are."""

    dtype: torch.dtype | None = None

    def settle(self, part: torch.Tensor) -> None:
        if self.dtype is not None:
            part.copy_(part.to(self.dtype))

    def encode(self, part: torch.Tensor) -> Outgoing:
        return {"part": narrowed(part, self.dtype)}

    def decode(self, bundle: Bundle) -> torch.Tensor:
        part = bundle["part"]
        assert isinstance(part, torch.Tensor)
        return part


EXACT = Dense()


def total(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum, added up one after the other in the element type of the parts, in place of the first one."""
    each = iter(parts)
    result = next(each)
    for part in each:
        result.add_(part)
    return result
