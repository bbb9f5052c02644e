"""The replay by recurrence and the one event by event, against a naive one."""

import random

import numpy
import pytest

from planner import recurrence
from planner.graph import TICKS_PER_S
from planner.recurrence import replay_unshared
from planner.replay import Surroundings, replay, replay_shared
from planner.replayed import RECORDED, RateLimits
from planner.simulate import Sharing, simulate
from planner.stage_costs import LaneTimes, StageCosts, Transfer
from planner.steps import StepsOfPlan
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm
from tests.planner.naive_replay import naive_steps

ITERATIONS = 12


def random_plan(generator: random.Random) -> list[StageCosts]:
    """Stages whose lanes are of one order of magnitude, so that which one binds differs."""

    def transfer() -> Transfer:
        return Transfer(generator.choice([0.0, generator.uniform(0, 0.3)]), generator.choice([0.0, 0.03, 0.2]))

    def times() -> LaneTimes:
        return LaneTimes(transfer(), generator.uniform(0.01, 0.3), transfer())

    return [
        StageCosts(
            first=stage,
            end=stage + 1,
            memory_mb=1769,
            replicas=generator.choice([1, 1, 2, 3]),
            algorithm=Algorithm.PIPELINED,
            piece_bytes=1 << 20,
            micro_batches=1,
            forward=times(),
            backward=times(),
            synchronise_s=generator.uniform(0, 0.5),
            synchronise_server_s=generator.uniform(0, 0.1),
            step_s=generator.uniform(0, 0.1),
            puts=0,
            gets=0,
            work_s=0.0,
        )
        for stage in range(generator.choice([1, 2, 3, 4]))
    ]


def random_case(seed: int) -> tuple[list[StageCosts], list[float]]:
    generator = random.Random(seed)
    plan = random_plan(generator)
    return plan, [1.0] * generator.choice([0, 1, 3, 5]) + [generator.choice([1.0, 0.3])]


def built(plan, shares, serial=False, extra_request_s=None, schedule=ScheduleName.GPIPE) -> StepsOfPlan:
    return StepsOfPlan(plan, schedule=schedule, shares=shares, serial=serial, extra_request_s=extra_request_s)


def name(placed, iteration):
    return ("end", placed.stage, placed.replica, iteration, str(placed.instruction))


@pytest.mark.parametrize("block", range(10))
def test_recurrence_equals_the_naive_replay_bit_for_bit(block):
    for seed in range(30 * block, 30 * block + 30):
        plan, shares = random_case(seed)
        schedule = list(ScheduleName)[seed % len(ScheduleName)]
        graph = built(plan, shares, schedule=schedule)
        found = replay_unshared(graph.steps, ITERATIONS)
        expected = naive_steps(plan, shares, ITERATIONS, schedule).ends()
        for iteration in range(RECORDED):
            for placed in graph.steps.placed:
                end = expected[name(placed, iteration)] / TICKS_PER_S
                assert found.ends[iteration][placed.last] == end, (seed, iteration, placed)
        for iteration in range(ITERATIONS):
            last = max(expected[name(placed, iteration)] for placed in graph.steps.placed)
            assert found.finished[iteration] == last / TICKS_PER_S


def test_what_is_extrapolated_is_what_a_whole_replay_finds(monkeypatch):
    cases = [random_case(seed) for seed in range(60)]
    short = [replay_unshared(built(*case).steps, 200) for case in cases]
    monkeypatch.setattr(recurrence, "LONGEST_PERIOD", 0)
    whole = [replay_unshared(built(*case).steps, 200) for case in cases]
    assert [found.finished for found in short] == [found.finished for found in whole]
    assert sum(found.period is not None for found in short) > 50, "else this test compares two whole replays"
    assert all(found.period is None for found in whole)
    for found, other in zip(short, whole, strict=True):
        assert all((a == b).all() for a, b in zip(found.ends, other.ends, strict=True))
        if found.period == 1:
            assert found.iteration_s == pytest.approx(found.finished[-1] - found.finished[-2], rel=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_event_by_event_equals_the_recurrence_where_nothing_is_shared(seed):
    steps = built(*random_case(seed)).steps
    one, other = replay_unshared(steps, 6), replay_shared(steps, 6, Surroundings())
    assert other.finished == pytest.approx(one.finished, rel=1e-9)
    for a, b in zip(one.begins, other.begins, strict=True):
        assert numpy.allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("seed", range(60))
def test_shared_cores_equal_the_naive_replay(seed):
    plan, shares = random_case(seed)
    graph = built(plan, shares, extra_request_s=0.01)
    found = replay(graph.steps, 5, Surroundings(cores=2))
    expected = naive_steps(plan, shares, 5, extra_request_s=0.01).ends_on_shared_cores(2)
    for iteration in range(RECORDED):
        for placed in graph.steps.placed:
            assert found.ends[iteration][placed.last] == pytest.approx(expected[name(placed, iteration)], rel=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_one_server_takes_requests_one_at_a_time_and_never_idles_while_any_waits(seed):
    plan, shares = random_case(seed)
    graph = built(plan, shares, serial=True, extra_request_s=0.01)
    found = replay(graph.steps, RECORDED, Surroundings())
    jobs = []
    for begins, ends, before in zip(found.begins, found.ends, [None, *found.ends[:-1]], strict=True):
        for step, server in enumerate(graph.steps.server):
            if server is not None:
                needs = [
                    ends[n] if ago == 0 else before[n]
                    for n, ago in graph.steps.needs[step]
                    if ago == 0 or (ago == 1 and before is not None)
                ]
                jobs.append((begins[step], ends[step], max(needs, default=0.0)))
    jobs.sort()
    free = 0.0
    for begin, end, ready in jobs:
        assert begin >= free - 1e-9
        assert begin <= max(free, ready) + 1e-9, "the server was free and the request there"
        free = end


def two_stages(*, latency_s=0.0) -> list[StageCosts]:
    plan = random_plan(random.Random(1))
    link = LaneTimes(Transfer(0.001, latency_s), 0.01, Transfer(0.001, latency_s))
    return [
        StageCosts(**{**vars(plan[0]), "replicas": 1, "forward": link, "backward": link, "first": n, "end": n + 1})
        for n in range(2)
    ]


def test_requests_within_the_rate_pass_as_if_there_was_no_limit():
    free = simulate(two_stages(), schedule=ScheduleName.GPIPE, shares=[1.0] * 20, get_latency_s=0.027)
    limited = simulate(
        two_stages(),
        schedule=ScheduleName.GPIPE,
        shares=[1.0] * 20,
        get_latency_s=0.027,
        sharing=Sharing(puts_per_s=3500, gets_per_s=5500),
    )
    assert limited.replay.finished == free.replay.finished


def test_requests_beyond_the_rate_wait_for_their_turn():
    limited = simulate(
        two_stages(),
        schedule=ScheduleName.GPIPE,
        shares=[1.0] * 20,
        get_latency_s=0.027,
        sharing=Sharing(puts_per_s=10),
    )
    assert limited.iteration_s == pytest.approx(2.0, rel=0.05), "20 activations an iteration, 10 PUTs a second"
    assert limited.replay.period is None


def test_a_rate_limit_allows_its_burst_and_no_more():
    limits = RateLimits({0: 10.0}, burst_s=1.0)
    assert limits.allows(0, numpy.zeros(11))
    assert not limits.allows(0, numpy.zeros(12))
    assert limits.allows(0, numpy.arange(100) / 10)
    assert not limits.allows(0, numpy.arange(100) / 20)


def test_time_to_any_iteration_follows_the_recurrence():
    plan, shares = random_case(7)
    short = simulate(plan, schedule=ScheduleName.GPIPE, shares=shares, get_latency_s=0.027)
    whole = simulate(plan, schedule=ScheduleName.GPIPE, shares=shares, get_latency_s=0.027, iterations=500)
    assert short.time_s(0) == 0
    assert [short.time_s(n) for n in (1, 3, 64, 65, 200, 500)] == pytest.approx(
        [whole.replay.finished[n - 1] for n in (1, 3, 64, 65, 200, 500)], rel=1e-12
    )
