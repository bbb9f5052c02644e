"""Partial plans, from the last layer back: they tell which candidates no better plan can use, before a MILP sees them.

A partial plan is a path of candidates from some boundary to the last one. It is put aside when

- every plan that ends with it is worse than the best plan met: the bound is the objective with the least that the
  stages before it can add to each figure, each figure by a path of its own; or
- another one from the same boundary is as good in everything that the objective and the limits see.

What the stages before will see of a partial plan are ten figures (``_FIGURES``), so neither test looks at its stages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy

from planner.cost_model import StageCosts
from planner.problem import Problem

MOST = 100_000
"""Partial plans looked at; with more, nothing is dropped and the MILPs decide among all candidates."""

_FIGURES = (
    "usd_s",
    "usd",
    "forward",
    "forward_queue",
    "backward",
    "backward_queue",
    "longest",
    "work",
    "stages",
    "workers",
)
"""USD per second of iteration time; USD of requests; seconds: sums of paths, maxima of queues, the longest backward
pass with its closing; core-seconds; counts of stages and workers."""


@dataclass(frozen=True)
class Pruned:
    """Candidates that a plan at most as bad as the limit may use, in the problem's order, and plans met on the way."""

    candidates: tuple[StageCosts, ...]
    plans: tuple[tuple[StageCosts, ...], ...]


@dataclass
class _Layer:
    """Partial plans from one boundary: a row of ``_FIGURES`` each, its first candidate, and the row of the rest."""

    figures: numpy.ndarray
    candidate: numpy.ndarray
    rest: numpy.ndarray


class _Search:
    def __init__(self, problem: Problem, limit: float, rivals: int, most: int) -> None:
        self.problem, self.limit, self.rivals, self.left = problem, limit, rivals, most
        self.model, self.limits = problem.model, problem.limits
        self.per_gb = problem.objective.usd_weight * self.model.usd_per_gb_s
        self.cores = self.model.profile.host_cores if self.model.platform.shared_cores else None
        self.before = {
            name: self._least(weight)
            for name, weight in (
                ("usd_s", lambda c: self.per_gb * c.total_gb),
                ("usd", lambda c: problem.objective.usd_weight * c.request_usd),
                ("forward", lambda c: c.forward.path_s),
                ("backward", lambda c: c.backward.path_s),
                ("both", lambda c: c.forward.path_s + c.backward.path_s),
                ("work", lambda c: c.work_s),
            )
        }

    def _least(self, weight: Callable[[StageCosts], float]) -> dict[int, float]:
        """By boundary, the least total weight of a path from the first one to it."""
        least = {boundary: float("inf") for boundary in self.problem.boundaries}
        least[self.problem.boundaries[0]] = 0.0
        for candidate in sorted(self.problem.candidates, key=lambda c: c.first):
            least[candidate.end] = min(least[candidate.end], least[candidate.first] + weight(candidate))
        return least

    def extended(self, figures: numpy.ndarray, c: StageCosts) -> numpy.ndarray:
        """The partial plans with one more stage before them."""
        new = figures.copy()
        new[:, 0] += self.per_gb * c.total_gb
        new[:, 1] += self.problem.objective.usd_weight * c.request_usd
        new[:, 2] += c.forward.path_s
        new[:, 3] = numpy.maximum(new[:, 3], c.forward_queue_s)
        new[:, 4] += c.backward.path_s
        new[:, 5] = numpy.maximum(new[:, 5], c.backward_queue_s)
        new[:, 6] = numpy.maximum(new[:, 6], new[:, 4] + new[:, 5] + c.closing_s)
        if self.cores:
            new[:, 7] += c.work_s
        new[:, 8] += 1
        new[:, 9] += c.replicas
        return new

    def bounds(self, figures: numpy.ndarray, boundary: int) -> numpy.ndarray:
        """The least objective of a plan that ends so; at the first boundary, the objective."""
        before = {name: least[boundary] for name, least in self.before.items()}
        usd_s, usd, forward, forward_queue, backward, backward_queue, longest, work, _, _ = figures.T
        queues = forward_queue + backward_queue
        seconds = forward + before["forward"] + forward_queue
        seconds = seconds + numpy.maximum(longest, backward + before["backward"] + backward_queue)
        seconds = numpy.maximum(seconds, forward + backward + before["both"] + queues)
        if self.cores:
            seconds = numpy.maximum(seconds, (work + before["work"]) / self.cores)
        weight = self.problem.objective.time_weight
        return (weight + usd_s + before["usd_s"]) * seconds + usd + before["usd"]

    def admitted(self, figures: numpy.ndarray, boundary: int) -> numpy.ndarray:
        stages, workers = figures[:, 8], figures[:, 9]
        fine = (stages <= self.limits.max_stages) & (workers <= self.limits.max_concurrency)
        if boundary == self.problem.boundaries[0]:
            fine &= (stages >= self.limits.min_stages) & (workers >= self.limits.min_workers)
        return fine

    def undominated(self, layer: _Layer) -> _Layer:
        """Without those that ``rivals`` others are as good as (the first of equals stay)."""
        # Counts must not exceed the other's, and must serve a minimum as well: so the missing ones count, too.
        missing = numpy.maximum(0, (self.limits.min_stages, self.limits.min_workers) - layer.figures[:, 8:])
        seen = numpy.hstack([layer.figures, missing])
        order = numpy.lexsort(seen.T[::-1])
        kept = numpy.empty_like(seen)
        rows: list[int] = []
        for row in order:
            if (kept[: len(rows)] <= seen[row]).all(axis=1).sum() < self.rivals:
                kept[len(rows)] = seen[row]
                rows.append(row)
        return _Layer(layer.figures[rows], layer.candidate[rows], layer.rest[rows])

    def run(self) -> dict[int, _Layer] | None:
        """All partial plans that remain, by boundary; None when there are too many."""
        first, last = self.problem.boundaries[0], self.problem.boundaries[-1]
        nothing = numpy.zeros(1, dtype=int)
        layers = {last: _Layer(numpy.zeros((1, len(_FIGURES))), nothing, nothing)}
        found: dict[int, list[_Layer]] = {boundary: [] for boundary in self.problem.boundaries}
        by_end: dict[int, list[tuple[int, StageCosts]]] = {boundary: [] for boundary in self.problem.boundaries}
        for number, candidate in enumerate(self.problem.candidates):
            by_end[candidate.end].append((number, candidate))
        for boundary in reversed(self.problem.boundaries):
            if found[boundary]:
                parts = found[boundary]
                joined = _Layer(
                    *(numpy.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0]))
                )
                layers[boundary] = joined if boundary == first else self.undominated(joined)
            if boundary not in layers:
                continue
            for number, candidate in by_end[boundary]:
                figures = self.extended(layers[boundary].figures, candidate)
                good = self.admitted(figures, candidate.first)
                good &= self.bounds(figures, candidate.first) <= self.limit
                rest = numpy.flatnonzero(good)
                self.left -= len(rest)
                if self.left < 0:
                    return None
                if len(rest):
                    found[candidate.first].append(_Layer(figures[rest], numpy.full(len(rest), number), rest))
        return layers


def prune(problem: Problem, limit: float, *, rivals: int = 1, most: int = MOST) -> Pruned:
    """What is left of a problem when only plans with an objective of at most ``limit`` matter.

    Args:
        rivals: how many others must be as good as a partial plan before it is put aside; 2 where one plan is excluded.
        most: see ``MOST``.
    """
    search = _Search(problem, limit, rivals, most)
    layers = search.run()
    if layers is None:
        return Pruned(problem.candidates, ())
    first, last = problem.boundaries[0], problem.boundaries[-1]
    if first not in layers:
        return Pruned((), ())
    plans = tuple(_stages(problem.candidates, layers, row, last) for row in range(len(layers[first].candidate)))
    used = {stage for plan in plans for stage in plan}
    return Pruned(tuple(candidate for candidate in problem.candidates if candidate in used), plans)


def _stages(candidates: Sequence[StageCosts], layers: dict[int, _Layer], row: int, last: int) -> tuple[StageCosts, ...]:
    """The stages of a whole plan."""
    stages: list[StageCosts] = []
    boundary = min(layers)
    while boundary != last:
        layer = layers[boundary]
        stage = candidates[layer.candidate[row]]
        stages.append(stage)
        row, boundary = layer.rest[row], stage.end
    return tuple(stages)
