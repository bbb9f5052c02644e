"""The choice as intervals: every stage that a plan may have, with its coefficients, and what a good plan is.

A candidate (i, k, m, d, a, c) means "layers i to k-1 form a stage at memory m with d replicas that sum their gradients
by algorithm a, and that keep activations or compute them again (c)". Candidates that do not fit are never created, nor
are those that another one betters in every respect. A plan is a path of candidates from boundary 0 to boundary L.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.candidates import Candidates, find_candidates, least_kept, ways_to_sum
from planner.cost_model import CostModel
from planner.job import Limits, Objective
from planner.profile_format import Profile
from planner.stage_costs import StageCosts
from planner.stage_memory import StageMemory
from runtime.errors import UserInputError
from runtime.schedule import ScheduleName, kept_at_once

MAX_GROUPS = 16
"""Models of more layers have adjacent cheap ones merged first: candidates grow with the square of this number."""
FINE_REPLICAS = 4
"""Up to here every number of replicas is tried; beyond, powers of two and the largest allowed."""


@dataclass(frozen=True)
class Problem:
    """Candidates between the boundaries that may be cut at, and the objective over their paths."""

    model: CostModel
    objective: Objective
    limits: Limits
    boundaries: tuple[int, ...]
    candidates: Candidates
    schedule: ScheduleName = ScheduleName.GPIPE

    def iteration_s(self, stages: Sequence[StageCosts]) -> float:
        """Seconds per iteration of a plan, by the closed form."""
        return self.model.iteration_s(stages, self.schedule)

    def value(self, stages: Sequence[StageCosts], iteration_s: float) -> float:
        """The objective: usd_weight · USD + time_weight · seconds, per iteration."""
        usd = self.model.usd(stages, iteration_s)
        return self.objective.usd_weight * usd + self.objective.time_weight * iteration_s

    def admits(self, stages: Sequence[StageCosts]) -> bool:
        """Whether the numbers of stages and workers are within the job's limits, and what a stage keeps fits."""
        replicas = [stage.replicas for stage in stages]
        return (
            self.limits.min_stages <= len(stages) <= self.limits.max_stages
            and self.limits.min_workers <= sum(replicas) <= self.limits.max_concurrency
            and all(self._fits(stages, index) for index in range(len(stages)))
        )

    def _fits(self, stages: Sequence[StageCosts], index: int) -> bool:
        costs, kept = stages[index], None
        if self.schedule is not ScheduleName.GPIPE:
            replicas = [stage.replicas for stage in stages]
            kept = kept_at_once(self.schedule, index, replicas, self.model.micro_batches)
        shape = (costs.first, costs.end, costs.replicas, costs.algorithm, costs.recompute)
        return self.model.memory(*shape, kept).needed_mb <= costs.memory_mb


def replica_choices(limits: Limits, micro_batches: int) -> list[int]:
    """Numbers of replicas to try; never more than there are micro-batches to share."""
    most = min(limits.max_replicas, micro_batches, limits.max_concurrency)
    if most <= FINE_REPLICAS:
        return list(range(1, most + 1))
    powers = [2**exponent for exponent in range(most.bit_length()) if 2**exponent <= most]
    return sorted({*powers, 3, most})


def merge_layers(profile: Profile, groups: int, fits: Callable[[int, int], bool]) -> tuple[int, ...]:
    """Boundaries that remain when adjacent cheap layers are merged until ``groups`` are left.

    Layers ``first`` to ``end - 1`` are merged only where ``fits(first, end)``, so more groups may be left.

    A group's weight is the larger of its shares of the compute time and of the bytes that it holds; the pair of
    neighbours with the least weight together is merged, the first of equals. The optimum over the remaining
    boundaries need not be that over all; with at most ``groups`` layers nothing is merged.
    """
    seconds = [layer.forward_s[0] + layer.backward_s[0] for layer in profile.layers]
    held = [layer.parameter_bytes + layer.activation_bytes for layer in profile.layers]
    every_s, every_byte = sum(seconds) or 1.0, sum(held) or 1
    parts = [
        (index, index + 1, s / every_s, b / every_byte) for index, (s, b) in enumerate(zip(seconds, held, strict=True))
    ]
    while len(parts) > groups:
        pairs = [(max(a[2] + b[2], a[3] + b[3]), at) for at, (a, b) in enumerate(pairwise(parts)) if fits(a[0], b[1])]
        if not pairs:
            break
        at = min(pairs)[1]
        a, b = parts[at], parts[at + 1]
        parts[at : at + 2] = [(a[0], b[1], a[2] + b[2], a[3] + b[3])]
    return (0, *(part[1] for part in parts))


def _least_memory(
    model: CostModel, limits: Limits, schedule: ScheduleName, first: int, end: int, replicas: int
) -> StageMemory:
    """Of the algorithms allowed, and with recomputation where that is, the one with the lowest peak."""
    kept = least_kept(model, schedule, end, replicas)
    memories = [
        model.memory(first, end, replicas, algorithm, recompute, kept)
        for algorithm in ways_to_sum(limits, replicas)
        for recompute in limits.recomputations
    ]
    return min(memories, key=lambda memory: memory.total)


def _refuse_layer(model: CostModel, limits: Limits, schedule: ScheduleName, layer: int, degrees: Sequence[int]) -> None:
    """Raises UserInputError when not even a stage of this layer alone fits, with any number of replicas."""

    def least(degree: int) -> StageMemory:
        return _least_memory(model, limits, schedule, layer, layer + 1, degree)

    replicas = min(degrees, key=lambda degree: least(degree).total)
    memory = least(replicas)
    largest = max(limits.memory_mb)
    if memory.needed_mb <= largest:
        return
    items = sorted(((value, name) for name, value in vars(memory).items() if value), reverse=True)
    shown = ", ".join(f"{name} {value / (1 << 20):,.0f} MB" for value, name in items)
    remedies = ["a smaller training.micro_batch_size"] if memory.activations > memory.weights else []
    if limits.recompute is False:
        remedies.append('limits.recompute = "auto"')
    if replicas == degrees[-1] and replicas < model.micro_batches:
        remedies.append(f"more limits.max_replicas (now {limits.max_replicas})")
    if largest < 10_240:
        remedies.append("larger sizes in limits.memory_mb (Lambda allows up to 10,240)")
    remedies.append("a smaller layer")
    raise UserInputError(
        f"layer {layer} ({model.profile.layers[layer].module}) fits no memory size: a stage of it alone needs "
        f"{memory.needed_mb:,.0f} MB with {replicas} replica(s), head-room included, the largest of limits.memory_mb "
        f"is {largest:,} MB: {memory.needed_mb - largest:,.0f} MB too much ({shown}). "
        f"What would help: {'; '.join(remedies)}."
    )


def build_problem(
    model: CostModel,
    objective: Objective,
    limits: Limits,
    groups: int = MAX_GROUPS,
    degrees: Sequence[int] | None = None,
    schedule: ScheduleName = ScheduleName.GPIPE,
    boundaries: Sequence[int] | None = None,
) -> Problem:
    """Every candidate stage that fits, under one schedule.

    Args:
        groups: layers are merged until there are no more than so many.
        degrees: numbers of replicas to try, instead of ``replica_choices``.
        boundaries: where cuts may be, from 0 to the number of layers, instead of what merging leaves.

    Raises:
        UserInputError: a layer fits no memory size, or fewer layers than min_stages.
    """
    if model.layer_count < limits.min_stages:
        raise UserInputError(
            f"limits.min_stages is {limits.min_stages}, but the model has only {model.layer_count} layers to cut "
            "between. Lower min_stages, or return a finer nn.Sequential."
        )
    replicas = degrees or replica_choices(limits, model.micro_batches)
    for layer in range(model.layer_count):
        _refuse_layer(model, limits, schedule, layer, replicas)
    if boundaries is None:
        largest = max(limits.memory_mb)
        boundaries = merge_layers(
            model.profile,
            max(groups, limits.min_stages),
            lambda first, end: any(
                _least_memory(model, limits, schedule, first, end, degree).needed_mb <= largest for degree in replicas
            ),
        )
    candidates = find_candidates(model, limits, boundaries, replicas, schedule)
    return Problem(model, objective, limits, tuple(boundaries), candidates, schedule)
