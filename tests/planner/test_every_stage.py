import random
from itertools import combinations, product

import pytest

from planner.candidates import Kind
from planner.every_stage import EveryStage
from planner.job import Limits
from runtime.schedule import ScheduleName
from runtime.spec import WireSpec, WireType
from runtime.synchronisation import Algorithm
from tests.planner.brute_force import cost_model
from tests.planner.profiles import random_profile

LAYERS = 6
DEGREES = [1, 2, 5]
LIMITS = Limits(memory_mb=[512, 1024, 3538, 10240], max_replicas=5, synchronisation=list(Algorithm), recompute="auto")
HALF = WireSpec(activations=WireType.BFLOAT16, gradients=WireType.BFLOAT16)


def made(seed: int):
    generator = random.Random(seed)
    profile = random_profile(generator, LAYERS, scale=generator.choice([0.3, 2.0]))
    changes = {"builds_whole_model": seed % 2 == 1, "base_bytes": 150 << 20}
    return cost_model(
        profile.model_copy(update=changes),
        platform=generator.choice(["aws-lambda", "aws-lambda-express", "embedded"]),
        wire=HALF if seed % 3 == 0 else WireSpec(),
        optimizer={"name": "adam"},
    )


@pytest.mark.parametrize("seed", range(8))
def test_what_fits_is_what_the_cost_model_says(seed):
    model = made(seed)
    gpipe = EveryStage(model, LIMITS, DEGREES, [ScheduleName.GPIPE])
    alternating = EveryStage(model, LIMITS, DEGREES, [ScheduleName.ONE_F_ONE_B, ScheduleName.EAGER_ONE_F_ONE_B])
    for degree, algorithm, recompute in product(DEGREES, Algorithm, (False, True)):
        every = model.micro_batches_per_replica(degree)
        kind = Kind(0, degree, algorithm, recompute)
        for memory_mb, all_kept, some_kept in zip(
            LIMITS.memory_mb, gpipe.kept(kind), alternating.kept(kind), strict=True
        ):
            for at, (first, end) in enumerate(combinations(range(LAYERS + 1), 2)):
                needed = model.memory(first, end, degree, algorithm, recompute).needed_mb
                assert all_kept[at] == (every if needed <= memory_mb else 0)
                each = (
                    kept
                    for kept in range(every, 0, -1)
                    if model.memory(first, end, degree, algorithm, recompute, kept).needed_mb <= memory_mb
                )
                most = next(each, 0)
                least = min(1 if end == LAYERS else 2, every)
                assert some_kept[at] == (most if most >= least else 0)


@pytest.mark.parametrize("seed", range(8))
def test_figures_are_those_of_the_cost_model(seed):
    model = made(seed)
    limits = LIMITS.model_copy(update={"synchronisation": [list(Algorithm)[seed % 4]], "recompute": seed % 2 == 0})
    [algorithm], [recompute] = limits.synchronisation, limits.recomputations
    costs = []
    for first, end in combinations(range(LAYERS + 1), 2):
        for degree in DEGREES:
            way = algorithm if degree > 1 else Algorithm.PIPELINED
            for memory_mb in limits.memory_mb:
                if model.memory(first, end, degree, way, recompute).needed_mb <= memory_mb:
                    costs.append(model.stage(first, end, memory_mb, degree, way, recompute))
    found = [
        (block, row)
        for block in EveryStage(model, limits, DEGREES, [ScheduleName.GPIPE]).blocks()
        for row in range(len(block))
    ]
    assert {block[row] for block, row in found} == set(costs), "all that fit, and no others"
    assert len(found) == len(costs)
    for block, row in found:
        one = block[row]
        assert block.kept[row] == one.micro_batches
        assert block.forward_path_s[row] == one.forward.path_s
        assert block.backward_path_s[row] == one.backward.path_s
        assert block.closing_s[row] == one.closing_s
        assert block.request_usd[row] == one.request_usd
        assert block.total_gb[row] == one.total_gb


def test_what_another_way_to_sum_betters_is_left_out():
    model, limits = made(2), LIMITS.model_copy(update={"recompute": False})
    groups = {}
    for block in EveryStage(model, limits, DEGREES, [ScheduleName.GPIPE]).blocks():
        for row in range(len(block)):
            key = (block.first[row], block.end[row], block.memory_mb[row], block.replicas[row])
            groups.setdefault(key, []).append((block.closing_s[row], block.request_usd[row]))
    assert any(len(found) > 1 for found in groups.values())
    for found in groups.values():
        assert not any(a[0] <= b[0] and a[1] <= b[1] for a, b in combinations(found, 2)), "none that comes later"
