"""Shortest paths over the candidate stages: bounds that drop candidates before a MILP sees them, and first plans.

A node is (boundary, stages so far, workers so far), both counted only up to the minimum that the job asks for, so a
path that is too short in stages or workers is no path.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from planner.cost_model import StageCosts
from planner.job import Limits

Weight = Callable[[StageCosts], float]
_Node = tuple[int, int, int]
_INFINITE = float("inf")


class Paths:
    """All paths over ``candidates`` from the first of ``boundaries`` to the last."""

    def __init__(self, boundaries: Sequence[int], candidates: Sequence[StageCosts], limits: Limits) -> None:
        self._candidates = list(candidates)
        self._begin: _Node = (boundaries[0], 0, 0)
        self._end: _Node = (boundaries[-1], limits.min_stages, limits.min_workers)
        self._edges: list[tuple[_Node, _Node, int]] = []
        """From, to, candidate: in an order in which every path's edges ascend."""
        by_first = defaultdict(list)
        for number, candidate in enumerate(self._candidates):
            by_first[candidate.first].append(number)
        reached: dict[int, set[_Node]] = defaultdict(set)
        reached[boundaries[0]].add(self._begin)
        for boundary in boundaries:
            for node in sorted(reached[boundary]):
                for number in by_first[boundary]:
                    candidate = self._candidates[number]
                    stages = min(node[1] + 1, limits.min_stages)
                    workers = min(node[2] + candidate.replicas, limits.min_workers)
                    following = (candidate.end, stages, workers)
                    reached[candidate.end].add(following)
                    self._edges.append((node, following, number))

    def through(self, weight: Weight) -> list[float]:
        """For each candidate the least total ``weight`` (≥ 0 each) of a path that uses it; infinite without one."""
        weights = [weight(candidate) for candidate in self._candidates]
        before: dict[_Node, float] = defaultdict(lambda: _INFINITE, {self._begin: 0.0})
        for node, following, number in self._edges:
            before[following] = min(before[following], before[node] + weights[number])
        behind: dict[_Node, float] = defaultdict(lambda: _INFINITE, {self._end: 0.0})
        least = [_INFINITE] * len(weights)
        for node, following, number in reversed(self._edges):
            rest = weights[number] + behind[following]
            behind[node] = min(behind[node], rest)
            least[number] = min(least[number], before[node] + rest)
        return least

    def shortest(self, weight: Weight) -> list[StageCosts] | None:
        """The path of least total ``weight``, or None when there is none."""
        best: dict[_Node, tuple[float, list[StageCosts]]] = {self._begin: (0.0, [])}
        for node, following, number in self._edges:
            total, stages = best[node]
            candidate = self._candidates[number]
            total += weight(candidate)
            if following not in best or total < best[following][0]:
                best[following] = (total, [*stages, candidate])
        return best[self._end][1] if self._end in best else None
