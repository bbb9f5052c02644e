"""Partial plans, from the last layer back: a whole search when they stay few, and else what drops candidates.

A partial plan is a path of candidates from some boundary to the last one. What the stages before it will see of it are
a few figures: with f, b the sums of its forward and backward paths, Q and q its longest forward and backward queue,

    P = f + b,   E = f + longest (backward pass with its closing),   Q,   q,   USD per second,   USD of requests

and a stage (f', b', Q', q', closing c) before it makes

    P <- P + f' + b'      E <- max(E + f', P + f' + b' + max(q, q') + c)      Q <- max(Q, Q')      q <- max(q, q')

until at the first layer an iteration takes Q + E. A partial plan is put aside when

- every plan that ends with it is unwanted: a lower bound of its figures with those of each *opening* is; or
- another one from the same boundary is as good in everything that the objective and the limits see.

An opening stands for paths from the first layer to a boundary whose longest queues Q' + q' together lie in one range,
seen as if only their first stage had a closing. Of USD per second and P they form a staircase. Where it has many steps,
neighbours are made one, of the least of both, which a bound may.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

import numpy

from planner.cost_model import StageCosts
from planner.problem import Problem

MOST = 1_000_000
"""Partial plans looked at; with more, nothing is dropped and the MILPs decide among all candidates."""
RANGES, CANDIDATES_PER_RANGE = 48, 100
"""Ranges of queues, each as many times its least as the others; fewer where there are few candidates."""
STEPS = 128
"""Of a staircase, on the way; partial plans are held against a quarter of them."""
_BLOCK = 1 << 20
"""Pairs of partial plan and opening that are looked at together: 8 MB for each of their figures."""

Wanted = Callable[[numpy.ndarray, numpy.ndarray], numpy.ndarray]
"""(seconds, USD) of iterations, as lower bounds -> whether such plans are wanted; what is not, is not for more."""

_FIGURES = ("usd_s", "usd", "forward_queue", "backward_queue", "path", "longest", "work", "stages", "workers")
_USD_S, _USD, _FORWARD_QUEUE, _BACKWARD_QUEUE, _PATH, _LONGEST, _WORK, _STAGES, _WORKERS = range(len(_FIGURES))
"""USD per second of iteration time; USD of requests; seconds: Q, q, P, E; core-seconds; stages and workers."""


@dataclass(frozen=True)
class Pruned:
    """Candidates that a wanted plan may use, in the problem's order, and plans met on the way."""

    candidates: tuple[StageCosts, ...]
    plans: tuple[tuple[StageCosts, ...], ...]
    complete: bool
    """Whether no wanted plan is better in everything than each of ``plans``; False where there were too many."""


@dataclass
class _Layer:
    """Partial plans from one boundary: a row of ``_FIGURES`` each, its first candidate, and the row of the rest."""

    figures: numpy.ndarray
    candidate: numpy.ndarray
    rest: numpy.ndarray


class _Search:
    def __init__(
        self, problem: Problem, wanted: Wanted, rivals: int, most: int, about_s: float, deadline: float = inf
    ) -> None:
        self.problem, self.wanted, self.rivals, self.left = problem, wanted, rivals, most
        self.about_s, self.deadline = about_s, deadline
        self.model, self.limits = problem.model, problem.limits
        self.first, self.last = problem.boundaries[0], problem.boundaries[-1]
        self.per_gb = self.model.usd_per_gb_s
        self.cores = self.model.profile.host_cores if self.model.platform.shared_cores else None
        self.forward_before = self._least(lambda c: c.forward.path_s)
        self.work_before = self._least(lambda c: c.work_s)
        self.openings = self._openings()

    def _least(self, weight: Callable[[StageCosts], float], backward: bool = False) -> dict[int, float]:
        """By boundary, the least total weight of a path from the first one to it, or from it to the last one."""
        least = {boundary: float("inf") for boundary in self.problem.boundaries}
        least[self.last if backward else self.first] = 0.0
        for c in sorted(self.problem.candidates, key=lambda c: -c.end if backward else c.first):
            here, there = (c.end, c.first) if backward else (c.first, c.end)
            least[there] = min(least[there], least[here] + weight(c))
        return least

    def _rate(self, c: StageCosts) -> float:
        """USD per second, those of requests spread over ``about_s``: times at most ``about_s``, no more than is due."""
        return self.per_gb * c.total_gb + c.request_usd / self.about_s

    def _openings(self) -> dict[int, numpy.ndarray]:
        """By boundary, rows of (USD per second, P with the first stage's closing, least of Q + q)."""
        queues = sorted(c.forward_queue_s + c.backward_queue_s for c in self.problem.candidates) or [0.0]
        low = max(queues[0], 1e-3 * queues[-1])
        ranges = min(RANGES, 2 + len(queues) // CANDIDATES_PER_RANGE)
        levels = numpy.geomspace(low, queues[-1], ranges) if low > 0 else numpy.zeros(1)
        rate = self._least(self._rate, backward=True)
        path = self._least(lambda c: c.forward.path_s + c.backward.path_s, backward=True)
        openings: dict[int, list[numpy.ndarray]] = {}
        coarse: dict[int, list[numpy.ndarray]] = {}
        floor = 0.0
        for level in levels:
            for boundary, steps in self._staircases(float(level) * (1 + 1e-12), floor, rate, path).items():
                for used, into in ((_coarser(steps, STEPS // 4), openings), (_coarser(steps, 2), coarse)):
                    rows = numpy.column_stack([used, numpy.full(len(used), floor)])
                    into.setdefault(boundary, []).append(rows)
            floor = float(level)
        self.coarse_openings = {boundary: numpy.concatenate(rows) for boundary, rows in coarse.items()}
        return {boundary: numpy.concatenate(rows) for boundary, rows in openings.items()}

    def _staircases(
        self, queue_s: float, floor: float, rate: dict[int, float], path: dict[int, float]
    ) -> dict[int, numpy.ndarray]:
        """By boundary, (USD per second, P) of paths to it whose stages queue at most ``queue_s``.

        Args:
            floor: what they queue together at least.
            rate, path: the least of what follows, by boundary.
        """
        by_first: dict[int, list[StageCosts]] = {boundary: [] for boundary in self.problem.boundaries}
        for c in self.problem.candidates:
            if c.forward_queue_s + c.backward_queue_s <= queue_s:
                by_first[c.first].append(c)
        found: dict[int, list[numpy.ndarray]] = {boundary: [] for boundary in self.problem.boundaries}
        found[self.first].append(numpy.zeros((1, 2)))
        staircases: dict[int, numpy.ndarray] = {}
        for boundary in self.problem.boundaries:
            if not found[boundary]:
                continue
            rows = _staircase(numpy.concatenate(found[boundary]))
            seconds = rows[:, 1] + path[boundary] + floor
            usd = (rows[:, 0] + rate[boundary]) * numpy.minimum(seconds, self.about_s)
            rows = _coarser(rows[self.wanted(seconds, usd)], STEPS)
            if not len(rows):
                continue
            staircases[boundary] = rows
            here = by_first[boundary]
            if not here:
                continue
            closings = [c.closing_s if boundary == self.first else 0.0 for c in here]
            more = numpy.array(
                [
                    (self._rate(c), c.forward.path_s + c.backward.path_s + closing)
                    for c, closing in zip(here, closings, strict=True)
                ]
            )
            ends = numpy.array([c.end for c in here])
            for end in numpy.unique(ends):
                new = rows[:, None, :] + more[ends == end][None, :, :]
                found[int(end)].append(_staircase(new.reshape(-1, 2)))
        return staircases

    def extended(self, figures: numpy.ndarray, c: StageCosts) -> numpy.ndarray:
        """The partial plans with one more stage before them."""
        new = figures.copy()
        path_s = c.forward.path_s + c.backward.path_s
        new[:, _USD_S] += self.per_gb * c.total_gb
        new[:, _USD] += c.request_usd
        new[:, _FORWARD_QUEUE] = numpy.maximum(new[:, _FORWARD_QUEUE], c.forward_queue_s)
        new[:, _BACKWARD_QUEUE] = numpy.maximum(new[:, _BACKWARD_QUEUE], c.backward_queue_s)
        new[:, _PATH] += path_s
        own_s = new[:, _PATH] + new[:, _BACKWARD_QUEUE] + c.closing_s
        new[:, _LONGEST] = numpy.maximum(new[:, _LONGEST] + c.forward.path_s, own_s)
        if self.cores:
            new[:, _WORK] += c.work_s
        new[:, _STAGES] += 1
        new[:, _WORKERS] += c.replicas
        return new

    def promising(self, figures: numpy.ndarray, boundary: int) -> numpy.ndarray:
        """Numbers of the rows of which with some opening a wanted plan may come; looked at coarsely first."""
        rows = numpy.arange(len(figures))
        for openings in (self.coarse_openings, self.openings):
            rows = rows[self._meets(figures[rows], boundary, openings.get(boundary))]
        return rows

    def _meets(self, figures: numpy.ndarray, boundary: int, openings: numpy.ndarray | None) -> numpy.ndarray:
        fine = numpy.zeros(len(figures), dtype=bool)
        if openings is None:
            return fine
        forward, work = self.forward_before[boundary], self.work_before[boundary]
        block = max(1, _BLOCK // len(openings))
        for begin in range(0, len(figures), block):
            part = figures[begin : begin + block]
            usd_s, usd, forward_queue, backward_queue, path, longest, worked = (
                part[:, column, None] for column in range(_WORK + 1)
            )
            queues = numpy.maximum(forward_queue + backward_queue, openings[:, 2])
            seconds = numpy.maximum(longest + forward + forward_queue, path + openings[:, 1] + queues)
            if self.cores:
                seconds = numpy.maximum(seconds, (worked + work) / self.cores)
            spent = usd_s * seconds + usd + openings[:, 0] * numpy.minimum(seconds, self.about_s)
            fine[begin : begin + block] = self.wanted(seconds, spent).any(axis=1)
        return fine

    def admitted(self, figures: numpy.ndarray, boundary: int) -> numpy.ndarray:
        stages, workers = figures[:, _STAGES], figures[:, _WORKERS]
        fine = (stages <= self.limits.max_stages) & (workers <= self.limits.max_concurrency)
        if boundary == self.first:
            fine &= (stages >= self.limits.min_stages) & (workers >= self.limits.min_workers)
        return fine

    def best(self, layer: _Layer) -> _Layer:
        """Without those that ``rivals`` others are as good as (the first of equals stay)."""
        figures = layer.figures
        # Counts must not exceed the other's, and must serve a minimum as well: so the missing ones count, too.
        missing = numpy.maximum(0, (self.limits.min_stages, self.limits.min_workers) - figures[:, _STAGES:])
        seen = numpy.hstack([figures, missing])
        rows = undominated(seen, self.rivals)
        return _Layer(layer.figures[rows], layer.candidate[rows], layer.rest[rows])

    def run(self) -> dict[int, _Layer] | None:
        """All partial plans that remain, by boundary; None when there are too many."""
        nothing = numpy.zeros(1, dtype=int)
        layers = {self.last: _Layer(numpy.zeros((1, len(_FIGURES))), nothing, nothing)}
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
                layers[boundary] = joined if boundary == self.first else self.best(joined)
            if boundary not in layers:
                continue
            for number, candidate in by_end[boundary]:
                figures = self.extended(layers[boundary].figures, candidate)
                rest = numpy.flatnonzero(self.admitted(figures, candidate.first))
                rest = rest[self.promising(figures[rest], candidate.first)]
                self.left -= len(rest)
                if self.left < 0 or monotonic() > self.deadline:
                    return None
                if len(rest):
                    found[candidate.first].append(_Layer(figures[rest], numpy.full(len(rest), number), rest))
        return layers


def undominated(rows: numpy.ndarray, rivals: int) -> numpy.ndarray:
    """Numbers of the rows that fewer than ``rivals`` others are as good as; the first of equals stay."""
    order = numpy.lexsort(rows.T[::-1])
    rows = rows[:, [0, *numpy.flatnonzero(rows.min(axis=0) < rows.max(axis=0))]]  # equal ones tell nothing
    kept = numpy.empty_like(rows)
    numbers: list[int] = []
    for begin in range(0, len(order), 512):
        part = order[begin : begin + 512]
        count = len(numbers)
        if count:
            part = part[_rivals(kept[:count], rows[part]) < rivals]
        for row in part:
            if (kept[: len(numbers)] <= rows[row])[count * (rivals == 1) :].all(axis=1).sum() < rivals:
                kept[len(numbers)] = rows[row]
                numbers.append(row)
    return numpy.array(numbers, dtype=int)


def _rivals(kept: numpy.ndarray, rows: numpy.ndarray) -> numpy.ndarray:
    """Of each row, how many of ``kept`` are as good in every column."""
    as_good = numpy.ones((len(rows), len(kept)), dtype=bool)
    for column in range(rows.shape[1]):
        as_good &= kept[:, column] <= rows[:, column, None]
    return as_good.sum(axis=1)


def _staircase(rows: numpy.ndarray) -> numpy.ndarray:
    """The rows of two columns that no other is as good as, the first column ascending."""
    rows = rows[numpy.lexsort((rows[:, 1], rows[:, 0]))]
    lowest = numpy.minimum.accumulate(rows[:, 1])
    return rows[numpy.concatenate(([True], rows[1:, 1] < lowest[:-1]))]


def _coarser(rows: numpy.ndarray, most: int) -> numpy.ndarray:
    """A staircase of at most so many steps, on or below the given one."""
    if len(rows) <= most:
        return rows
    begins = numpy.linspace(0, len(rows), most, endpoint=False).astype(int)
    ends = numpy.append(begins[1:], len(rows)) - 1
    return numpy.column_stack([rows[begins, 0], rows[ends, 1]])


def at_most(problem: Problem, limit: float) -> Wanted:
    """Plans with an objective of at most ``limit``."""
    usd_weight, time_weight = problem.objective.usd_weight, problem.objective.time_weight
    return lambda seconds, usd: usd_weight * usd + time_weight * seconds <= limit


def least_objective(problem: Problem, limit: float, about_s: float) -> float:
    """A lower bound of the objective, or ``limit`` when that is lower: of the openings that are whole paths."""
    openings = _Search(problem, at_most(problem, limit), 1, 0, about_s).openings.get(problem.boundaries[-1])
    if openings is None:
        return limit
    seconds = openings[:, 1] + openings[:, 2]
    usd = openings[:, 0] * numpy.minimum(seconds, about_s)
    return float((problem.objective.usd_weight * usd + problem.objective.time_weight * seconds).min())


def prune(
    problem: Problem,
    wanted: Wanted,
    *,
    about_s: float = 1.0,
    rivals: int = 1,
    most: int = MOST,
    deadline: float = inf,
) -> Pruned:
    """What is left of a problem when only ``wanted`` plans matter.

    Args:
        about_s: seconds of an iteration, roughly; bounds are best where that is right, and hold in any case.
        rivals: how many others must be as good as a partial plan before it is put aside; 2 where one plan is excluded.
        most: see ``MOST``.
        deadline: ``monotonic()`` at which it is given up as if there were too many.
    """
    search = _Search(problem, wanted, rivals, most, about_s, deadline)
    layers = search.run()
    if layers is None:
        return Pruned(problem.candidates, (), False)
    first, last = problem.boundaries[0], problem.boundaries[-1]
    if first not in layers:
        return Pruned((), (), True)
    plans = tuple(_stages(problem.candidates, layers, row, last) for row in range(len(layers[first].candidate)))
    used = {stage for plan in plans for stage in plan}
    return Pruned(tuple(candidate for candidate in problem.candidates if candidate in used), plans, True)


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
