"""Candidate stages as columns of numbers: all cuts, sizes, replicas and ways to sum and to recompute, at once.

The formulae are ``CostModel``'s and ``StageCosts``', asked for all layers that a stage of a kind may have at once: they
are the same bits. The ``StageCosts`` of a candidate is made when it is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import overload

import numpy

from planner.cost_model import CostModel
from planner.dominance import Column, undominated
from planner.job import Limits
from planner.stage_costs import StageCosts
from planner.stage_memory import HEAD_ROOM, MIB, needed_mb
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm

_ALGORITHMS = list(Algorithm)
Spans = tuple[Column, Column]
"""First and end boundaries of stages."""


@dataclass(frozen=True, eq=False)
class Candidates(Sequence[StageCosts]):
    """A row each; names and units are those of ``StageCosts``, and of its two ``LaneTimes``."""

    model: CostModel
    first: Column
    end: Column
    memory_mb: Column
    replicas: Column
    algorithm: Column
    """Number among the ways to sum."""
    recompute: Column
    micro_batches: Column
    kept: Column
    """Micro-batches between forward and backward that a worker has memory for, at most all of its own."""
    forward_path_s: Column
    backward_path_s: Column
    forward_queue_s: Column
    backward_queue_s: Column
    closing_s: Column
    request_usd: Column
    work_s: Column
    total_gb: Column
    inner_s: Column
    outer_s: Column
    backward_compute_s: Column

    @classmethod
    def none(cls, model: CostModel) -> "Candidates":
        """No candidate at all."""
        return cls(model, *(numpy.zeros(0) for _ in fields(cls)[1:]))

    def __len__(self) -> int:
        return len(self.first)

    @overload
    def __getitem__(self, row: int) -> StageCosts: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[StageCosts]: ...
    def __getitem__(self, row: int | slice) -> StageCosts | Sequence[StageCosts]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        return self.model.stage(
            int(self.first[row]),
            int(self.end[row]),
            int(self.memory_mb[row]),
            int(self.replicas[row]),
            _ALGORITHMS[int(self.algorithm[row])],
            bool(self.recompute[row]),
        )

    def __iter__(self) -> Iterator[StageCosts]:
        return (self[row] for row in range(len(self)))

    def only(self, rows: Column) -> "Candidates":
        """Those of these numbers, or where a mask says so."""
        columns = (getattr(self, field.name)[rows] for field in fields(self)[1:])
        return Candidates(self.model, *columns)


def ways_to_sum(limits: Limits, replicas: int) -> list[Algorithm]:
    """Algorithms to try; one replica has nothing to sum, and the manifest's default says nothing."""
    return limits.synchronisation if replicas > 1 else [Algorithm.PIPELINED]


def least_kept(model: CostModel, schedule: ScheduleName, end: int, replicas: int) -> int | None:
    """``CostModel.memory``'s ``kept`` of a stage that ends there, at least; None with GPipe."""
    if schedule is ScheduleName.GPIPE:
        return None
    return min(1 if end == model.layer_count else 2, model.micro_batches_per_replica(replicas))


def find_candidates(
    model: CostModel, limits: Limits, boundaries: Sequence[int], degrees: Sequence[int], schedule: ScheduleName
) -> Candidates:
    """Stages between these boundaries that fit, without those that another one betters or equals.

    That is one of the same layers and replicas, as good in all that the objective and the limits see. Of equals the
    first stays.
    """
    grid = _Grid(model, limits, boundaries, degrees)
    numbers, found = grid.candidates(grid.kept(schedule))
    span, degree, _, recompute, size = numpy.unravel_index(numbers, grid.shape)
    stage = span * len(degrees) + degree
    seen = _seen(found, schedule)
    # First of the same memory and recomputation: these differ in the way to sum alone.
    alike = (stage * grid.shape[3] + recompute) * grid.shape[4] + size
    left = undominated(alike, seen)
    return found.only(left[undominated(stage[left], seen[left])])


def _seen(found: Candidates, schedule: ScheduleName) -> numpy.ndarray:
    """What the objective and the limits see of candidates of the same layers and replicas: less is better."""
    columns = [
        found.memory_mb,
        found.forward_path_s,
        found.backward_path_s,
        found.forward_queue_s,
        found.backward_queue_s,
        found.closing_s,
        found.request_usd,
    ]
    if found.model.platform.shared_cores:
        columns.append(found.work_s)
    if schedule is not ScheduleName.GPIPE:
        columns += [-found.kept, found.inner_s, found.outer_s, found.backward_compute_s]
    return numpy.column_stack(columns).astype(float)


@dataclass(frozen=True)
class Kind:
    """What candidates have in common that differ in their layers alone."""

    memory_mb: int
    replicas: int
    algorithm: Algorithm
    recompute: bool


def memory_kept(
    model: CostModel, spans: Spans, sizes: Sequence[int], kind: Kind, schedule: ScheduleName
) -> Iterator[Column]:
    """For each memory size, whichever the kind's: ``Candidates.kept`` of the spans, 0 where a stage does not fit."""
    shape = (*spans, kind.replicas, kind.algorithm, kind.recompute)
    every = model.micro_batches_per_replica(kind.replicas)
    if schedule is ScheduleName.GPIPE:
        needed = needed_mb(model.memory(*shape).total)
        for size in sizes:
            yield numpy.where(needed <= size, every, 0)
        return
    least, most = model.memory(*shape, 1).total, model.memory(*shape, every).total
    each = numpy.broadcast_to(model.kept_bytes(*spans, kind.recompute), least.shape)
    needed = numpy.minimum(numpy.where(spans[1] == model.layer_count, 1, 2), every)
    for size in sizes:
        # What is kept hides part of what summing and saving need, so memory grows by ``each`` only at the end.
        fewer = numpy.maximum(0.0, (most - size / (1 + HEAD_ROOM) * MIB) // numpy.maximum(each, 1)) * (each > 0)
        fewer = numpy.minimum(fewer, every - 1)
        while (over := (needed_mb(numpy.maximum(least, most - fewer * each)) > size) & (fewer < every - 1)).any():
            fewer += over
        kept = numpy.where(needed_mb(least) <= size, every - fewer, 0)
        yield numpy.where(kept >= needed, kept, 0).astype(int)


class _Grid:
    """Every kind between some boundaries. Axes are in the order of ``shape``."""

    def __init__(self, model: CostModel, limits: Limits, boundaries: Sequence[int], degrees: Sequence[int]) -> None:
        self.model, self.degrees, self.sizes = model, list(degrees), sorted(limits.memory_mb)
        first, end = numpy.triu_indices(len(boundaries), k=1)
        at = numpy.array(boundaries, dtype=int)
        self.spans = at[first], at[end]
        self.ways = [ways_to_sum(limits, degree) for degree in degrees]
        self.recomputations = limits.recomputations
        most = max(map(len, self.ways))
        self.shape = (len(first), len(self.degrees), most, len(self.recomputations), len(self.sizes))

    def _kinds(self) -> Iterator[tuple[tuple[int, int, int], Kind]]:
        """With their places on the axes between spans and memory sizes; memory sizes are left open."""
        for degree, replicas in enumerate(self.degrees):
            for way, algorithm in enumerate(self.ways[degree]):
                for again, recompute in enumerate(self.recomputations):
                    yield (degree, way, again), Kind(0, replicas, algorithm, recompute)

    def kept(self, schedule: ScheduleName) -> numpy.ndarray:
        """Of the whole grid: ``Candidates.kept``, 0 where a stage does not fit."""
        found = numpy.zeros(self.shape, dtype=int)
        for place, kind in self._kinds():
            for size, kept in enumerate(memory_kept(self.model, self.spans, self.sizes, kind, schedule)):
                found[:, *place, size] = kept
        return found

    def candidates(self, kept: numpy.ndarray) -> tuple[Column, Candidates]:
        """Those that fit, and their places in the flattened grid, ascending."""
        numbers, parts = [], []
        for place, kind in self._kinds():
            for size, memory_mb in enumerate(self.sizes):
                rows = numpy.flatnonzero(kept[:, *place, size])
                if len(rows):
                    places = (rows, *(numpy.full(len(rows), each) for each in (*place, size)))
                    numbers.append(numpy.ravel_multi_index(places, self.shape))
                    spans = self.spans[0][rows], self.spans[1][rows]
                    parts.append(
                        columns(self.model, spans, replace(kind, memory_mb=memory_mb), kept[rows, *place, size])
                    )
        if not parts:
            return numpy.zeros(0, dtype=int), Candidates.none(self.model)
        order = numpy.argsort(numpy.concatenate(numbers))
        return numpy.concatenate(numbers)[order], joined(parts).only(order)


def columns(model: CostModel, spans: Spans, kind: Kind, kept: Column) -> Candidates:
    """The candidates of one kind with the layers of these spans, a row each."""
    costs = model.stage(*spans, kind.memory_mb, kind.replicas, kind.algorithm, kind.recompute)
    figures = {
        "memory_mb": kind.memory_mb,
        "replicas": kind.replicas,
        "algorithm": _ALGORITHMS.index(kind.algorithm),
        "recompute": kind.recompute,
        "micro_batches": costs.micro_batches,
        "forward_path_s": costs.forward.path_s,
        "backward_path_s": costs.backward.path_s,
        "forward_queue_s": costs.forward_queue_s,
        "backward_queue_s": costs.backward_queue_s,
        "closing_s": costs.closing_s,
        "request_usd": costs.request_usd,
        "work_s": costs.work_s,
        "total_gb": costs.total_gb,
        "inner_s": costs.inner_s,
        "outer_s": costs.outer_s,
        "backward_compute_s": costs.backward.compute_s,
    }
    rows = {name: numpy.broadcast_to(figure, len(kept)) for name, figure in figures.items()}
    return Candidates(model=model, first=spans[0], end=spans[1], kept=kept, **rows)


def joined(parts: Sequence[Candidates]) -> Candidates:
    """One below the other."""
    names = [field.name for field in fields(Candidates)[1:]]
    return Candidates(parts[0].model, *(numpy.concatenate([getattr(part, name) for part in parts]) for name in names))
