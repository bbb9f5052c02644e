"""Every plan of small problems, by plain enumeration from the layers."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product

from planner.cost_model import CostModel
from planner.platforms import PLATFORMS
from planner.problem import Problem, replica_choices
from planner.stage_costs import StageCosts
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName, kept_at_once
from runtime.spec import EXACT_WIRE
from runtime.synchronisation import Algorithm
from tests.planner.profiles import make_training

Plan = tuple[StageCosts, ...]


def cost_model(
    profile, platform="aws-lambda", wire=EXACT_WIRE, architecture=Architecture.X86_64, **training
) -> CostModel:
    section = make_training(**{"micro_batch_size": profile.micro_batch_size, **training})
    return CostModel(
        profile=profile, platform=PLATFORMS[platform], training=section, architecture=architecture, wire=wire
    )


def every_plan(problem: Problem) -> Iterator[Plan]:
    """Each plan that fits and that the limits admit."""
    model, limits = problem.model, problem.limits
    degrees = replica_choices(limits, model.micro_batches)
    gpipe = problem.schedule is ScheduleName.GPIPE
    options: dict[tuple[int, int], list[tuple[StageCosts, list[float]]]] = {}
    for first, end in combinations(range(model.layer_count + 1), 2):
        options[first, end] = []
        for degree in degrees:
            counts = [None] if gpipe else list(range(1, model.micro_batches_per_replica(degree) + 1))
            for algorithm in limits.synchronisation if degree > 1 else [Algorithm.PIPELINED]:
                for recompute in limits.recomputations:
                    needed = [model.memory(first, end, degree, algorithm, recompute, kept).needed_mb for kept in counts]
                    options[first, end] += [
                        (model.stage(first, end, memory_mb, degree, algorithm, recompute), needed)
                        for memory_mb in limits.memory_mb
                        if needed[0] <= memory_mb
                    ]
    for cuts in range(model.layer_count):
        for inner in combinations(range(1, model.layer_count), cuts):
            if not limits.min_stages <= cuts + 1 <= limits.max_stages:
                continue
            for plan in product(*(options[pair] for pair in pairwise((0, *inner, model.layer_count)))):
                replicas = [stage.replicas for stage, _ in plan]
                if limits.min_workers <= sum(replicas) <= limits.max_concurrency and all(
                    needed[_kept(problem, index, replicas)] <= stage.memory_mb
                    for index, (stage, needed) in enumerate(plan)
                ):
                    yield tuple(stage for stage, _ in plan)


def _kept(problem: Problem, index: int, replicas: Sequence[int]) -> int:
    """Place of the micro-batches kept among those that memory was asked for."""
    if problem.schedule is ScheduleName.GPIPE:
        return 0
    return kept_at_once(problem.schedule, index, replicas, problem.model.micro_batches) - 1


def value(problem: Problem, plan: Plan) -> float:
    return problem.value(plan, problem.iteration_s(plan))
