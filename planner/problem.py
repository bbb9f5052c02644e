"""The choice as intervals: every stage that a plan may have, with its coefficients, and what a good plan is.

A candidate (i, k, m, d, a, c) means "layers i to k-1 form a stage at memory m with d replicas that sum their gradients
by algorithm a, and that keep activations or compute them again (c)". Candidates that do not fit are never created, nor
are those that another one betters in every respect. A plan is a path of candidates from boundary 0 to boundary L.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.cost_model import CostModel, StageCosts, StageMemory
from planner.job import Job, Limits, Objective
from planner.platforms import Platform
from planner.profile_format import Profile
from runtime.errors import UserInputError
from runtime.synchronisation import Algorithm

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
    candidates: tuple[StageCosts, ...]

    def value(self, stages: Sequence[StageCosts], iteration_s: float) -> float:
        """The objective: usd_weight · USD + time_weight · seconds, per iteration."""
        usd = self.model.usd(stages, iteration_s)
        return self.objective.usd_weight * usd + self.objective.time_weight * iteration_s

    def admits(self, stages: Sequence[StageCosts]) -> bool:
        """Whether the numbers of stages and workers are within the job's limits."""
        workers = sum(stage.replicas for stage in stages)
        return (
            self.limits.min_stages <= len(stages) <= self.limits.max_stages
            and self.limits.min_workers <= workers <= self.limits.max_concurrency
        )


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


def _figures(costs: StageCosts) -> tuple[float, ...]:
    """Everything that the objective and the constraints see of a candidate, less is better."""
    return (
        costs.total_gb,
        costs.forward.path_s,
        costs.backward.path_s,
        costs.forward_queue_s,
        costs.backward_queue_s,
        costs.closing_s,
        costs.request_usd,
        costs.work_s,
    )


def _undominated(options: list[StageCosts]) -> list[StageCosts]:
    """Without those that another one betters or equals in everything (the first of equals stays)."""
    kept: list[StageCosts] = []
    for option in sorted(options, key=_figures):
        mine = _figures(option)
        if not any(all(a <= b for a, b in zip(_figures(other), mine, strict=True)) for other in kept):
            kept.append(option)
    return kept


def _algorithms(limits: Limits, replicas: int) -> list[Algorithm]:
    """Ways to sum gradients to try; one replica has nothing to sum, and the manifest's default says nothing."""
    return limits.synchronisation if replicas > 1 else [Algorithm.PIPELINED]


def _least_memory(model: CostModel, limits: Limits, first: int, end: int, replicas: int) -> StageMemory:
    """Of the algorithms allowed, and with recomputation where that is, the one with the lowest peak."""
    memories = [
        model.memory(first, end, replicas, algorithm, recompute)
        for algorithm in _algorithms(limits, replicas)
        for recompute in limits.recomputations
    ]
    return min(memories, key=lambda memory: memory.total)


def _refuse_layer(model: CostModel, limits: Limits, layer: int, degrees: Sequence[int]) -> None:
    """Raises UserInputError when not even a stage of this layer alone fits, with any number of replicas."""
    replicas = min(degrees, key=lambda degree: _least_memory(model, limits, layer, layer + 1, degree).total)
    memory = _least_memory(model, limits, layer, layer + 1, replicas)
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
) -> Problem:
    """Every candidate stage that fits.

    Args:
        groups: layers are merged until there are no more than so many.
        degrees: numbers of replicas to try, instead of ``replica_choices``.

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
        _refuse_layer(model, limits, layer, replicas)
    largest = max(limits.memory_mb)
    boundaries = merge_layers(
        model.profile,
        max(groups, limits.min_stages),
        lambda first, end: any(
            _least_memory(model, limits, first, end, degree).needed_mb <= largest for degree in replicas
        ),
    )
    return Problem(model, objective, limits, boundaries, tuple(_candidates(model, limits, boundaries, replicas)))


def stage_options(
    model: CostModel, limits: Limits, first: int, end: int, replicas: int, kept: int | None = None
) -> list[StageCosts]:
    """Stages of these layers and replicas that fit, without those that another betters; ``kept`` as in ``memory``."""
    return _undominated(
        [
            model.stage(first, end, memory_mb, replicas, algorithm, recompute)
            for algorithm in _algorithms(limits, replicas)
            for recompute in limits.recomputations
            for memory_mb in sorted(limits.memory_mb)
            if memory_mb >= model.memory(first, end, replicas, algorithm, recompute, kept).needed_mb
        ]
    )


def _candidates(
    model: CostModel, limits: Limits, boundaries: Sequence[int], replicas: Sequence[int]
) -> list[StageCosts]:
    return [
        option
        for at, first in enumerate(boundaries)
        for end in boundaries[at + 1 :]
        for degree in replicas
        for option in stage_options(model, limits, first, end, degree)
    ]


def cost_model(job: Job, profile: Profile, platform: Platform) -> CostModel:
    """The cost model of a job's own profile."""
    return CostModel(
        profile=profile,
        platform=platform,
        training=job.training,
        architecture=job.package.architecture,
        wire=job.wire,
        ephemeral_storage_mb=job.package.ephemeral_storage_mb,
    )


def job_problem(job: Job, profile: Profile, platform: Platform) -> Problem:
    """The choice that a job and its profile pose. Raises UserInputError when a layer fits nowhere."""
    return build_problem(cost_model(job, profile, platform), job.objective, job.limits)
