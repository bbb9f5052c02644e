"""Every stage that a plan may have between any two layers, as columns of numbers, kind by kind.

Models of hundreds of layers have tens of thousands of intervals, and each has dozens of candidate stages: too many to
be held at once, as ``candidates`` does with those of merged layers.
"""

from collections.abc import Iterator, Sequence
from math import inf

import numpy

from planner.candidates import Candidates, Kind, columns, memory_kept, ways_to_sum
from planner.cost_model import CostModel
from planner.dominance import Column
from planner.job import Limits
from runtime.schedule import ScheduleName


class EveryStage:
    """One cost model under several schedules."""

    def __init__(
        self, model: CostModel, limits: Limits, degrees: Sequence[int], schedules: Sequence[ScheduleName]
    ) -> None:
        self.model, self._limits, self._degrees = model, limits, degrees
        self._sizes = sorted(limits.memory_mb)
        # Schedules other than GPipe differ in what a plan's stages must keep, and that is left open here.
        self._schedules = {schedule is ScheduleName.GPIPE: schedule for schedule in schedules}.values()
        self.boundaries = model.layer_count + 1
        self._spans = numpy.triu_indices(self.boundaries, k=1)

    def kept(self, kind: Kind) -> list[Column]:
        """For each memory size, whichever the kind's: micro-batches that a worker can keep under the best of the
        schedules; 0: none fits."""
        found = (memory_kept(self.model, self._spans, self._sizes, kind, schedule) for schedule in self._schedules)
        return [numpy.max(each, axis=0) for each in zip(*found, strict=True)]

    def blocks(self) -> Iterator[Candidates]:
        """All candidates that fit under one of the schedules; those left out another one betters in every respect."""
        for replicas in self._degrees:
            kept = {
                (algorithm, recompute): self.kept(Kind(0, replicas, algorithm, recompute))
                for algorithm in ways_to_sum(self._limits, replicas)
                for recompute in self._limits.recomputations
            }
            for size, memory_mb in enumerate(self._sizes):
                known: list[tuple[Column, Column, Column]] = []
                for algorithm in ways_to_sum(self._limits, replicas):
                    kinds = [Kind(memory_mb, replicas, algorithm, each) for each in self._limits.recomputations]
                    yield from self._worth(kinds, [kept[algorithm, kind.recompute][size] for kind in kinds], known)

    def _worth(
        self, kinds: Sequence[Kind], kept: Sequence[Column], known: list[tuple[Column, Column, Column]]
    ) -> Iterator[Candidates]:
        """Of kinds that differ in recomputation alone; adds to ``known`` ways to sum, with their seconds, USD, and what
        is kept."""
        first, end = self._spans
        every = self.model.micro_batches_per_replica(kinds[0].replicas)
        seconds, usd = numpy.full(len(first), inf), numpy.full(len(first), inf)
        found = []
        left = numpy.ones(len(first), dtype=bool)
        for kind, held in zip(kinds, kept, strict=True):
            rows = numpy.flatnonzero((held > 0) & left)
            block = columns(self.model, (first[rows], end[rows]), kind, held[rows])
            seconds[rows], usd[rows] = block.closing_s, block.request_usd
            found.append((rows, block))
            left &= held < every  # what keeps everything need not compute it again
        worth = numpy.ones(len(first), dtype=bool)
        for other_s, other_usd, other_kept in known:
            worth &= (seconds < other_s) | (usd < other_usd) | (other_kept < every)
        known.append((seconds, usd, kept[0]))
        for rows, block in found:
            if worth[rows].any():
                yield block.only(worth[rows])
