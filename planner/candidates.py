"""Candidate stages as columns of numbers: all cuts, sizes, replicas and ways to sum and to recompute, at once.

The formulae are ``CostModel``'s. Each is asked once for what it depends on (a stage's lanes know nothing of replicas,
its summation nothing of recomputation), and numpy puts the figures together in the order in which ``StageCosts`` does:
they are the same bits. The ``StageCosts`` of a candidate is made when it is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import overload

import numpy

from planner.cost_model import CostModel, PassedOn
from planner.dominance import Column, as_good, places, table
from planner.job import Limits
from planner.pricing import BYTES_PER_GB, gb_seconds
from planner.stage_costs import LaneTimes, StageCosts
from planner.stage_memory import HEAD_ROOM, MIB, needed_mb
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm

_ALGORITHMS = list(Algorithm)
_TOO_MUCH = 1e30
"""Bytes of memory; of ways to sum that a number of replicas has not."""


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
    kept = grid.kept(schedule)
    numbers = numpy.flatnonzero(kept)
    found = grid.candidates(numbers, kept.ravel()[numbers])
    span, degree, _, recompute, size = numpy.unravel_index(numbers, grid.shape)
    stage = span * len(degrees) + degree
    seen = _seen(found, schedule)
    # First of the same memory and recomputation: these differ in the way to sum alone.
    alike = (stage * grid.shape[3] + recompute) * grid.shape[4] + size
    left = _undominated(alike, seen)
    return found.only(left[_undominated(stage[left], seen[left])])


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


def _undominated(group: Column, figures: numpy.ndarray) -> Column:
    """Rows, ascending, that none of their group is as good as in every figure; the first of equals stay."""
    _, number = numpy.unique(group, return_inverse=True)
    place = places(number)
    compared = table(figures.T, number, place, int(number.max(initial=-1)) + 1)
    earlier = numpy.tri(compared.shape[2], k=-1, dtype=bool)
    worse = numpy.zeros(compared.shape[1:], dtype=bool)
    for groups, good in as_good(compared, compared):
        worse[groups] = (good & (~good.transpose(0, 2, 1) | earlier)).any(axis=2)
    return numpy.flatnonzero(~worse[number, place])


def _counts(passed: PassedOn) -> tuple[int, int, int, int]:
    return passed.puts, passed.gets, passed.bytes_up, passed.bytes_down


class _Grid:
    """Figures by what they depend on. Axes are in the order of ``shape``."""

    def __init__(self, model: CostModel, limits: Limits, boundaries: Sequence[int], degrees: Sequence[int]) -> None:
        self.model, self.degrees, self.sizes = model, list(degrees), sorted(limits.memory_mb)
        self.spans = [(first, end) for at, first in enumerate(boundaries) for end in boundaries[at + 1 :]]
        self.ways = [ways_to_sum(limits, degree) for degree in degrees]
        self.recomputations = limits.recomputations
        most = max(map(len, self.ways))
        self.shape = (len(self.spans), len(self.degrees), most, len(self.recomputations), len(self.sizes))
        self.micro_batches = numpy.array([model.micro_batches_per_replica(degree) for degree in degrees])

    def kept(self, schedule: ScheduleName) -> numpy.ndarray:
        """Of the whole grid: ``Candidates.kept``, 0 where a stage does not fit."""
        model, sizes = self.model, numpy.array(self.sizes)
        every = self.micro_batches[:, None, None, None]
        if schedule is ScheduleName.GPIPE:
            return numpy.where(needed_mb(self._peaks([None] * len(self.degrees)))[..., None] <= sizes, every, 0)
        least = self._peaks([1] * len(self.degrees))[..., None]
        most = self._peaks(self.micro_batches.tolist())[..., None]
        each = numpy.array([[model.kept_bytes(*span, again) for again in self.recomputations] for span in self.spans])
        each = each[:, None, None, :, None]
        # What is kept hides part of what summing and saving need, so memory grows by ``each`` only at the end.
        fewer = numpy.maximum(0.0, (most - sizes / (1 + HEAD_ROOM) * MIB) // numpy.maximum(each, 1)) * (each > 0)
        fewer = numpy.minimum(fewer, every - 1)
        while (over := (needed_mb(numpy.maximum(least, most - fewer * each)) > sizes) & (fewer < every - 1)).any():
            fewer += over
        kept = numpy.where(needed_mb(least) <= sizes, every - fewer, 0)
        needed = [[least_kept(model, schedule, end, degree) or 0 for degree in self.degrees] for _, end in self.spans]
        return numpy.where(kept >= numpy.array(needed)[:, :, None, None, None], kept, 0).astype(int)

    def _peaks(self, kept: Sequence[int | None]) -> numpy.ndarray:
        """Bytes of memory by all axes but the last; ``kept`` by degree, as ``CostModel.memory`` takes it."""
        peaks = numpy.full(self.shape[:4], _TOO_MUCH)
        for number, (first, end) in enumerate(self.spans):
            for at, degree in enumerate(self.degrees):
                for way, algorithm in enumerate(self.ways[at]):
                    for again, recompute in enumerate(self.recomputations):
                        peak = self.model.memory(first, end, degree, algorithm, recompute, kept[at]).total
                        peaks[number, at, way, again] = peak
        return peaks

    def candidates(self, numbers: Column, kept: Column) -> Candidates:
        """The candidates of these places in the flattened grid."""
        model, prices = self.model, self.model.platform.storage_prices
        span, degree, way, again, size = numpy.unravel_index(numbers, self.shape)
        replicas, micro_batches = numpy.array(self.degrees)[degree], self.micro_batches[degree]
        path, back, pace, back_pace, inner, outer, back_compute = self._lanes()[:, span, size, again]
        bandwidths = [model.summing_bandwidth(memory_mb) for memory_mb in self.sizes]
        distinct = sorted(set(bandwidths))
        link = numpy.array([distinct.index(each) for each in bandwidths])[size]
        sums = self._summations([bandwidths.index(each) for each in distinct])
        synchronise, step = sums[0, span, degree, way, link], self._steps()[span, size]
        passed = numpy.array([_counts(model.passed_on(*each)) for each in self.spans], dtype=float)[span].T
        puts, gets, bytes_up, bytes_down = model.micro_batches * passed + sums[1:, span, degree, way, link]
        memory_mb = numpy.array(self.sizes)[size]
        ways = numpy.zeros(self.shape[1:3], dtype=int)
        for at, found in enumerate(self.ways):
            ways[at, : len(found)] = [_ALGORITHMS.index(algorithm) for algorithm in found]
        firsts, ends = numpy.array(self.spans).T
        return Candidates(
            model=model,
            first=firsts[span],
            end=ends[span],
            memory_mb=memory_mb,
            replicas=replicas,
            algorithm=ways[degree, way],
            recompute=numpy.array(self.recomputations)[again],
            micro_batches=micro_batches,
            kept=kept,
            forward_path_s=path,
            backward_path_s=back,
            forward_queue_s=(micro_batches - 1) * pace,
            backward_queue_s=(micro_batches - 1) * back_pace,
            closing_s=synchronise + step,
            request_usd=puts * prices.usd_per_put
            + gets * prices.usd_per_get
            + (bytes_up * prices.usd_per_gb_up + bytes_down * prices.usd_per_gb_down) / BYTES_PER_GB,
            work_s=model.micro_batches * (path + back) + replicas * (synchronise + step),
            total_gb=replicas * gb_seconds(memory_mb, 1.0) + replicas * model.tmp_worth_gb(model.ephemeral_storage_mb),
            inner_s=inner,
            outer_s=outer,
            backward_compute_s=back_compute,
        )

    def _lanes(self) -> numpy.ndarray:
        """By span, memory size and recomputation: a row per figure that ``candidates`` takes of the lanes."""

        def figures(forward: LaneTimes, backward: LaneTimes) -> tuple[float, ...]:
            sent_s = forward.upload.whole_s + backward.download.whole_s
            inner_s = forward.compute_s + sent_s + backward.compute_s
            outer_s = forward.download.whole_s + backward.upload.whole_s
            paths, paces = (forward.path_s, backward.path_s), (forward.slowest_s, backward.slowest_s)
            return (*paths, *paces, inner_s, outer_s, backward.compute_s)

        found = [
            [[figures(*self.model.lanes(*span, size, again)) for again in self.recomputations] for size in self.sizes]
            for span in self.spans
        ]
        return numpy.moveaxis(numpy.array(found), -1, 0)

    def _summations(self, sizes: Sequence[int]) -> numpy.ndarray:
        """By span, degree, way and memory size (of these numbers): seconds, PUTs, GETs, bytes up and down."""
        found = numpy.zeros((5, *self.shape[:3], len(sizes)))
        for number, span in enumerate(self.spans):
            for at, degree in enumerate(self.degrees):
                for way, algorithm in enumerate(self.ways[at]):
                    for link, size in enumerate(sizes):
                        summation = self.model.summation(*span, self.sizes[size], degree, algorithm)
                        found[:, number, at, way, link] = (summation.seconds, *_counts(summation.passed))
        return found

    def _steps(self) -> numpy.ndarray:
        return numpy.array([[self.model.step_s(*span, size) for size in self.sizes] for span in self.spans])
