"""The columns against the stages that they stand for, and what is left out against comparing each with each."""

import random
from itertools import combinations

import pytest

from planner.candidates import find_candidates, least_kept
from planner.platforms import PLATFORMS
from planner.problem import replica_choices
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm
from tests.planner.brute_force import cost_model
from tests.planner.profiles import random_limits, random_profile


def made(seed, schedule):
    generator = random.Random(seed)
    model = cost_model(random_profile(generator, layers=5), generator.choice(list(PLATFORMS)))
    limits = random_limits(generator).model_copy(update={"recompute": "auto", "synchronisation": list(Algorithm)})
    degrees = replica_choices(limits, model.micro_batches)
    return model, limits, degrees, find_candidates(model, limits, range(6), degrees, schedule)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("schedule", [ScheduleName.GPIPE, ScheduleName.ONE_F_ONE_B])
def test_columns_are_the_bits_of_the_stages(seed, schedule):
    _, _, _, found = made(seed, schedule)
    assert len(found)
    for row, stage in enumerate(found):
        for name in ("first", "end", "memory_mb", "replicas", "recompute", "micro_batches", "request_usd", "total_gb"):
            assert getattr(found, name)[row] == getattr(stage, name), name
        for name in ("forward_queue_s", "backward_queue_s", "closing_s", "work_s", "inner_s", "outer_s"):
            assert getattr(found, name)[row] == getattr(stage, name), name
        assert found.forward_path_s[row] == stage.forward.path_s
        assert found.backward_path_s[row] == stage.backward.path_s
        assert found.backward_compute_s[row] == stage.backward.compute_s


@pytest.mark.parametrize("seed", range(6))
def test_as_many_micro_batches_are_kept_as_memory_allows(seed):
    model, _, _, found = made(seed, ScheduleName.ONE_F_ONE_B)
    for stage, kept in zip(found, found.kept, strict=True):
        shape = (stage.first, stage.end, stage.replicas, stage.algorithm, stage.recompute)
        assert model.memory(*shape, int(kept)).needed_mb <= stage.memory_mb
        if kept < stage.micro_batches:
            assert model.memory(*shape, int(kept) + 1).needed_mb > stage.memory_mb
        assert kept >= least_kept(model, ScheduleName.ONE_F_ONE_B, stage.end, stage.replicas)


@pytest.mark.parametrize("seed", range(6))
def test_each_stage_that_fits_is_there_or_another_betters_it(seed):
    model, limits, degrees, found = made(seed, ScheduleName.GPIPE)
    left = {}
    for stage in found:
        left.setdefault((stage.first, stage.end, stage.replicas), []).append(stage)

    def figures(stage):
        paths = (stage.forward.path_s, stage.backward.path_s, stage.forward_queue_s, stage.backward_queue_s)
        work = stage.work_s if model.platform.shared_cores else 0.0
        return (stage.memory_mb, *paths, stage.closing_s, stage.request_usd, work)

    for first, end in combinations(range(6), 2):
        for degree in degrees:
            alike = [figures(stage) for stage in left.get((first, end, degree), [])]
            for number, one in enumerate(alike):
                others = alike[:number] + alike[number + 1 :]
                assert not any(all(a <= b for a, b in zip(other, one, strict=True)) for other in others)
            for algorithm in limits.synchronisation if degree > 1 else [Algorithm.PIPELINED]:
                for recompute in (False, True):
                    needed = model.memory(first, end, degree, algorithm, recompute).needed_mb
                    for memory_mb in limits.memory_mb:
                        if memory_mb >= needed:
                            one = figures(model.stage(first, end, memory_mb, degree, algorithm, recompute))
                            assert any(all(a <= b for a, b in zip(other, one, strict=True)) for other in alike)
