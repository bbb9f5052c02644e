"""Shortest paths over the candidate stages: bounds that drop candidates before a MILP sees them."""

from collections.abc import Callable, Sequence

from planner.cost_model import StageCosts


def through(
    boundaries: Sequence[int], candidates: Sequence[StageCosts], weight: Callable[[StageCosts], float]
) -> list[float]:
    """For each candidate, the least total ``weight`` (≥ 0 each) of a path from the first boundary to the last that
    uses it; infinite where there is none."""
    weights = [weight(candidate) for candidate in candidates]
    by_first: dict[int, list[int]] = {boundary: [] for boundary in boundaries}
    by_end: dict[int, list[int]] = {boundary: [] for boundary in boundaries}
    for number, candidate in enumerate(candidates):
        by_first[candidate.first].append(number)
        by_end[candidate.end].append(number)
    before = {boundaries[0]: 0.0}
    for boundary in boundaries[1:]:
        before[boundary] = min((before[candidates[n].first] + weights[n] for n in by_end[boundary]), default=float("inf"))
    behind = {boundaries[-1]: 0.0}
    for boundary in reversed(boundaries[:-1]):
        behind[boundary] = min((weights[n] + behind[candidates[n].end] for n in by_first[boundary]), default=float("inf"))
    return [
        before[candidate.first] + weights[number] + behind[candidate.end]
        for number, candidate in enumerate(candidates)
    ]
