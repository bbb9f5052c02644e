"""Lines through what was measured at several micro-batch sizes, and how far they are off at a size left out of them.

figure │            ×          ×  measured
       │       ○               ○  held out: the line is judged by it
       │    ●                  ●  the job's own size: the line passes through it
       │ ×                     slope ≥ 0, and 0 ≤ figure at size 0
       └────────────────── micro-batch size
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runtime.spec import Strict

Figures = Mapping[str, Sequence[float]]
"""By name, one number per layer."""

NEGLIGIBLE = {"s": 0.010, "bytes": 65_536.0}
"""By unit: a sum over all layers that no plan depends on. 10 ms are a third of one request to storage; what is smaller
is compared with this instead of with itself, or the jitter of a model that takes microseconds would refuse it."""


class Misfit(Strict):
    """One figure of one layer at the held-out size."""

    name: str
    layer: int
    by_line: float
    measured: float


@dataclass(frozen=True)
class Fit:
    """``per_sample`` are the slopes, as the figures are given; errors are shares, by unit ("s", "bytes")."""

    per_sample: dict[str, list[float]]
    errors: dict[str, float]
    worst: dict[str, Misfit]
    """Of the figure with the largest error, the layer that is off by most."""


def default_sizes(own: int, most: int) -> list[int]:
    """Half, one and two times the job's micro-batch size, as far as ``most`` samples allow."""
    wanted = {max(1, own // 2), own, 2 * own}
    if 2 * own > most:
        wanted.add(max(1, own // 4))
    if own == 1:
        wanted.add(4)
    return sorted(size for size in wanted if size <= most)


def held_out_size(sizes: Sequence[int]) -> int | None:
    """A size to judge the line by: in the middle of the largest gap between ``sizes``, which ascend; None: no gap."""
    gaps = [(high - low, low, high) for low, high in pairwise(sizes)]
    width, low, high = max(gaps, default=(0, 0, 0))
    return (low + high) // 2 if width > 1 else None


def slope(own: int, values: Mapping[int, float]) -> float:
    """Of the line through ``values[own]`` that fits the other sizes best, by least squares of relative errors.

    It is at least 0, and at most what leaves nothing at size 0.
    """
    others = [(size - own, value - values[own], 1 / size**2) for size, value in values.items() if size != own]
    weight = sum(w * x * x for x, _, w in others)
    best = sum(w * x * y for x, y, w in others) / weight if weight else 0.0
    return min(max(0.0, best), values[own] / own)


def unit(name: str) -> str:
    """ "s" or "bytes", by the end of a figure's name."""
    return "bytes" if name.endswith("bytes") else "s"


def fit(own: int, held_out: int, figures: Mapping[int, Figures]) -> Fit:
    """Lines for all figures of all layers.

    Args:
        own: the size that the lines pass through.
        held_out: the size that they are judged by and not fitted to.
        figures: by size, ``own`` and ``held_out`` among them; all with the same names and layers.
    """
    per_sample: dict[str, list[float]] = {}
    errors = dict.fromkeys(NEGLIGIBLE, 0.0)
    worst: dict[str, Misfit] = {}
    for name, row in figures[own].items():
        fitted = {size: rows[name] for size, rows in figures.items() if size != held_out}
        slopes = [slope(own, {size: rows[layer] for size, rows in fitted.items()}) for layer in range(len(row))]
        per_sample[name] = slopes
        told = [now + (held_out - own) * each for now, each in zip(row, slopes, strict=True)]
        seen = figures[held_out][name]
        off = [abs(line - measured) for line, measured in zip(told, seen, strict=True)]
        error = sum(off) / max(sum(seen), NEGLIGIBLE[unit(name)])
        if error > errors[unit(name)] or unit(name) not in worst:
            layer = max(range(len(off)), key=off.__getitem__)
            errors[unit(name)] = error
            worst[unit(name)] = Misfit(name=name, layer=layer, by_line=told[layer], measured=seen[layer])
    return Fit(per_sample, errors, worst)
