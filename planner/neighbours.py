"""Good plans of all speeds, from some to begin with: what is a small change away from each of the best is looked at.

A change is another candidate for one stage, a cut moved by a boundary, two stages made one, or one made two. What a
plan takes and costs follows from sums and maxima of columns, so all changes of a plan are looked at together.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import inf

import numpy

from planner.options import Options

_GAIN = 0.002
"""A plan is gone on with where it costs by so much less (relative) than those that are as fast."""
_MOST = 1_500
"""Plans of which the changes are looked at."""

Plan = tuple[int, ...]
"""Numbers of candidates."""


class Neighbourhood:
    """Changes of plans of one problem."""

    def __init__(self, options: Options) -> None:
        self.options = options
        nodes = options.boundaries
        pair = options.first * nodes + options.end  # ascending, as candidates are
        self._begins = numpy.searchsorted(pair, numpy.arange(nodes * nodes + 1))
        stages = options.problem.candidates
        self._shape = numpy.column_stack([2 * numpy.log2(stages.replicas), numpy.log2(stages.memory_mb)])
        self._columns = numpy.vstack(
            [
                options.rate,
                options.requests,
                options.forward,
                options.backward,
                options.forward_queue,
                options.backward_queue,
                options.closing,
                numpy.zeros(len(options.rate)) if options.work is None else options.work,
            ]
        )
        self._columns = numpy.hstack([self._columns, numpy.zeros((8, 1))])

    def figures(self, plans: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Seconds and amounts of plans, a row each, which -1 fills up; infinite for those beyond the job's limits."""
        rate, requests, forward, backward, forward_queue, backward_queue, closing, work = self._columns[:, plans]
        path = numpy.cumsum(backward[:, ::-1], axis=1)
        queue = numpy.maximum.accumulate(backward_queue[:, ::-1], axis=1)
        seconds = forward.sum(axis=1) + forward_queue.max(axis=1) + (path + queue + closing[:, ::-1]).max(axis=1)
        seconds = numpy.maximum(seconds, work.sum(axis=1))
        seconds = numpy.maximum(seconds, self._waits(plans))
        within = self._within(plans) & numpy.isfinite(seconds)
        amounts = rate.sum(axis=1) * numpy.where(within, seconds, 0.0) + requests.sum(axis=1)
        return numpy.where(within, seconds, inf), numpy.where(within, amounts, inf)

    def _within(self, plans: numpy.ndarray) -> numpy.ndarray:
        limits, taken = self.options.problem.limits, plans >= 0
        stages, workers = taken.sum(axis=1), (self.options.replicas[plans] * taken).sum(axis=1)
        within = (stages >= limits.min_stages) & (stages <= limits.max_stages)
        return within & (workers >= limits.min_workers) & (workers <= limits.max_concurrency)

    def _waits(self, plans: numpy.ndarray) -> numpy.ndarray:
        """Seconds where forward and backward alternate, by waiting alone; infinite where memory does not suffice."""
        options, count = self.options, len(plans)
        waits, away, path = (numpy.zeros(count) for _ in range(3))
        if options.alternating is None:
            return waits
        for row in plans.T[::-1]:
            taken = row >= 0
            held, own, behind = options.waiting(row, away, path, path == 0)
            both = options.forward[row] + options.backward[row]
            own = numpy.where(held <= options.alternating.kept[row], own, inf)
            waits = numpy.where(taken, numpy.maximum(waits + both, own), waits)
            away, path = numpy.where(taken, behind, away), numpy.where(taken, path + both, path)
        return waits

    def of(self, plan: Plan) -> numpy.ndarray:
        """The changes of a plan, a row each."""
        first, end = self.options.first, self.options.end
        found: list[numpy.ndarray] = []

        def replaced(at: int, until: int, *stages: numpy.ndarray | int) -> None:
            """With these instead of stages ``at`` to ``until - 1``; one of them may be many."""
            count = max((len(each) for each in stages if isinstance(each, numpy.ndarray)), default=1)
            rows = numpy.full((count, len(plan) + 1), -1)
            parts = [*plan[:at], *stages, *plan[until:]]
            for column, part in enumerate(parts):
                rows[:, column] = part
            found.append(rows)

        for at, stage in enumerate(plan):
            low, high = int(first[stage]), int(end[stage])
            replaced(at, at + 1, self._between(low, high))
            for middle in range(low + 1, high):
                left, right = self._like(stage, low, middle), self._like(stage, middle, high)
                if left is not None and right is not None:
                    replaced(at, at + 1, left, right)
        for at, (left_stage, right_stage) in enumerate(pairwise(plan)):
            low, cut, high = int(first[left_stage]), int(end[left_stage]), int(end[right_stage])
            replaced(at, at + 2, self._between(low, high))
            for moved in (cut - 1, cut + 1):
                if low < moved < high:
                    left, right = self._like(left_stage, low, moved), self._like(right_stage, moved, high)
                    if left is not None and right is not None:
                        replaced(at, at + 2, self._between(low, moved), right)
                        replaced(at, at + 2, left, self._between(moved, high))
        return numpy.concatenate([rows for rows in found if len(rows)])

    def _between(self, low: int, high: int) -> numpy.ndarray:
        pair = low * self.options.boundaries + high
        return numpy.arange(self._begins[pair], self._begins[pair + 1])

    def _like(self, stage: int, low: int, high: int) -> int | None:
        """The candidate of that interval that is most like the stage."""
        rows = self._between(low, high)
        if not len(rows):
            return None
        return int(rows[numpy.abs(self._shape[rows] - self._shape[stage]).sum(axis=1).argmin()])


def better(options: Options, plans: Iterable[Plan]) -> Iterator[Plan]:
    """The best plans of all speeds, after each round of changes of those of the round before: those that are new."""
    near = Neighbourhood(options)
    known: list[tuple[float, float, Plan]] = []
    for plan in plans:
        (seconds,), (amount,) = near.figures(numpy.array([plan]))
        known.append((float(seconds), float(amount), plan))
    best = _undominated(known)
    looked_about: set[Plan] = set()
    while len(looked_about) < _MOST:
        about = [plan for _, _, plan in best if plan not in looked_about]
        if not about:
            return
        looked_about.update(about)
        times = [seconds for seconds, _, _ in best]
        new: list[tuple[float, float, Plan]] = []
        for plan in about:
            rows = near.of(plan)
            seconds, amounts = near.figures(rows)
            order = numpy.lexsort((amounts, seconds))
            least = numpy.minimum.accumulate(numpy.append(inf, amounts[order]))[:-1]
            for row in order[amounts[order] < least]:
                at = bisect_right(times, seconds[row])
                if amounts[row] < (best[at - 1][1] if at else inf) * (1 - _GAIN):
                    new.append((float(seconds[row]), float(amounts[row]), tuple(int(s) for s in rows[row] if s >= 0)))
        best = _undominated([*best, *new])
        yield from (plan for _, _, plan in best if plan not in looked_about)


def _undominated(plans: list[tuple[float, float, Plan]]) -> list[tuple[float, float, Plan]]:
    """From fast to cheap, none nearly as good as the one before."""
    found: list[tuple[float, float, Plan]] = []
    for plan in sorted(plans):
        if not found or plan[1] < found[-1][1] * (1 - _GAIN):
            found.append(plan)
    return found
