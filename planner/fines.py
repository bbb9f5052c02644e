"""What a stage and a worker are fined where a job bounds their numbers, so that bounds of plans know of it.

Of plans with at most n workers, each fined λ ≥ 0, the fines are at most n·λ: shortest paths with fines, less n·λ, are
lower bounds (Lagrange's). The best fines are looked for at one weight of money, near those of the window before.
"""

from collections.abc import Callable
from itertools import product

import numpy

_WIDE = (0.0, *(2.0**exponent for exponent in range(-7, 4)))
"""Fines to begin with, as shares of an iteration's time per stage, or worker, that is allowed."""
_NEAR = (0.6, 0.85, 1.0, 1.2, 1.7)
"""Then as shares of those before."""

Fines = tuple[float, float]
"""Seconds for a stage, and for a worker."""


def best_fines(
    shortest: Callable[[numpy.ndarray], numpy.ndarray],
    costs: numpy.ndarray,
    replicas: numpy.ndarray,
    most: tuple[int | None, int | None],
    seconds: float,
    before: Fines | None,
) -> Fines:
    """The fines with the highest bound.

    Args:
        shortest: from the costs of candidates, a row per try, to those of the shortest paths.
        costs: without fines.
        most: stages and workers allowed; None where that is no bound.
        seconds: about those of an iteration.
    """
    tries = []
    for limit, last in zip(most, before or (0.0, 0.0), strict=True):
        if limit is None:
            tries.append([0.0])
        elif last > 0:
            tries.append([last * each for each in _NEAR])
        else:
            shares = _WIDE if before is None else _WIDE[:2]
            tries.append([seconds / limit * each for each in shares])
    by_stage, by_worker = numpy.array(list(product(*tries))).T
    bounds = shortest(costs + by_stage[:, None] + by_worker[:, None] * replicas)
    bounds = bounds - by_stage * (most[0] or 0) - by_worker * (most[1] or 0)
    best = int(numpy.argmax(bounds))
    return float(by_stage[best]), float(by_worker[best])
