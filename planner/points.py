"""A function that is told at some points: linear between them, constant outside."""

from bisect import bisect_right
from collections.abc import Sequence


def between(points: Sequence[tuple[float, float]], at: float) -> float:
    """Its value; ``points`` ascend, and there is at least one."""
    index = bisect_right([point for point, _ in points], at)
    if index == 0:
        return points[0][1]
    if index == len(points):
        return points[-1][1]
    (low, first), (high, last) = points[index - 1], points[index]
    return first + (last - first) * (at - low) / (high - low)
