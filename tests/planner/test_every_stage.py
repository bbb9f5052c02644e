import random
from itertools import combinations

import pytest

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
    for degree in DEGREES:
        every = model.micro_batches_per_replica(degree)
        for memory_mb in LIMITS.memory_mb:
            for algorithm in Algorithm:
                for recompute in (False, True):
                    all_kept = gpipe.kept_at_most(memory_mb, degree, algorithm, recompute)
                    some_kept = alternating.kept_at_most(memory_mb, degree, algorithm, recompute)
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
    costs = {}
    for first, end in combinations(range(LAYERS + 1), 2):
        for degree in DEGREES:
            way = algorithm if degree > 1 else Algorithm.PIPELINED
            for memory_mb in limits.memory_mb:
                if model.memory(first, end, degree, way, recompute).needed_mb <= memory_mb:
                    found = model.stage(first, end, memory_mb, degree, way, recompute)
                    usd_per_s = model.usd_per_gb_s * found.total_gb
                    costs.setdefault((first, end), []).append((usd_per_s, found))
    seen = 0
    for block in EveryStage(model, limits, DEGREES, [ScheduleName.GPIPE]).blocks():
        for row in range(len(block.first)):
            seen += 1
            here = costs[int(block.first[row]), int(block.end[row])]
            figures = (
                block.request_usd[row],
                block.forward_s[row],
                block.path_s[row],
                block.forward_queue_s[row],
                block.backward_queue_s[row],
                block.waiting_s[row],
            )
            assert any(
                block.usd_per_s == pytest.approx(usd_per_s)
                and figures
                == pytest.approx(
                    (
                        one.request_usd,
                        one.forward.path_s,
                        one.forward.path_s + one.backward.path_s,
                        one.forward_queue_s,
                        one.backward_queue_s,
                        one.inner_s + one.outer_s,
                    )
                )
                and block.closing_s[row] <= one.closing_s * (1 + 1e-9)
                for usd_per_s, one in here
            )
            assert block.turns[row] == 1
    assert seen == sum(map(len, costs.values())), "all that fit, and no others"
