"""Expected timelines are drawn above the asserts; one character is one second."""

import itertools
import random
from itertools import pairwise

import pytest

from planner.cost_model import CostModel
from planner.graph import Delay, Delays
from planner.platforms import PLATFORMS
from planner.sample_loads import SampleLoads
from planner.simulate import Sharing, simulate
from planner.stage_costs import LaneTimes, StageCosts, Transfer
from runtime.manifest import Architecture
from runtime.pacing import LOOKS_IN_VAIN, LOOKS_IN_VAIN_FOLLOWING
from runtime.schedule import Lane, ScheduleName
from runtime.synchronisation import Algorithm
from tests.planner.profiles import make_training, random_profile


def stage(*, replicas=1, forward_s=1.0, backward_s=1.0, link_s=0.0, synchronise_s=0.0, step_s=0.0) -> StageCosts:
    link = Transfer(link_s)
    return StageCosts(
        first=0,
        end=1,
        memory_mb=1769,
        replicas=replicas,
        algorithm=Algorithm.PIPELINED,
        piece_bytes=1 << 20,
        micro_batches=1,
        forward=LaneTimes(link, forward_s, link),
        backward=LaneTimes(link, backward_s, link),
        synchronise_s=synchronise_s,
        synchronise_server_s=synchronise_s,
        step_s=step_s,
        puts=0,
        gets=0,
        work_s=0.0,
    )


def replay(plan, micro_batches, *, cores=None, iterations=3, shares=None):
    shares = shares or [1.0] * micro_batches
    return simulate(
        plan,
        schedule=ScheduleName.GPIPE,
        shares=shares,
        get_latency_s=0.027,
        sharing=Sharing(cores=cores),
        iterations=iterations,
    )


def test_one_worker_computes_without_pause():
    #  F0 F1 B0 B1 U   |  F0 F1 B0 B1 U
    assert replay([stage(step_s=0.5)], 2).iteration_s == pytest.approx(4.5)


def test_gpipe_without_transfer_time():
    #  stage 0   F0 F1 F2 .  .  .  .  B0 B1 B2
    #  stage 1   .  F0 F1 F2 .  .  B0 B1 B2
    #  stage 2   .  .  F0 F1 F2 B0 B1 B2
    found = replay([stage(), stage(), stage()], 3)
    spans = {(e.stage, e.instruction): (e.start_s, e.end_s) for e in found.events if e.iteration == 0}
    assert spans[0, "F2"] == (2, 3)
    assert spans[2, "F0"] == (2, 3)
    assert spans[2, "B0"] == (5, 6)
    assert spans[0, "B2"] == (9, 10)
    assert found.iteration_s == pytest.approx(10)


def test_transfers_overlap_computing():
    #  stage 0 upload    .  S0 S1
    #  stage 1 download  .  .  R0 R1          link of 1 s each, while F1 and F0 are computed
    found = replay([stage(link_s=1.0), stage(link_s=1.0)], 2, iterations=1)
    spans = {(e.stage, e.instruction): e for e in found.events}
    assert spans[0, "SF0"].start_s == spans[0, "F1"].start_s
    assert spans[1, "F0"].start_s < spans[1, "RF1"].end_s


def test_replicas_share_micro_batches_and_wait_for_each_other():
    #  replica 0   F0 F2 B0 B2 R U
    #  replica 1   F1 B1 .  .  R U
    found = replay([stage(replicas=2, synchronise_s=2.0)], 3)
    reduces = [e for e in found.events if e.instruction == "R" and e.iteration == 0]
    assert {(e.start_s, e.end_s) for e in reduces} == {(4.0, 6.0)}
    assert found.iteration_s == pytest.approx(6)


def test_shared_cores_slow_all_workers_down():
    plan = [stage(replicas=4)]
    assert replay(plan, 4).iteration_s == pytest.approx(2)
    assert replay(plan, 4, cores=2).iteration_s == pytest.approx(4)


def test_a_short_micro_batch_takes_its_share():
    assert replay([stage()], 2, shares=[1.0, 0.25]).iteration_s == pytest.approx(2.5)


def test_latency_hides_behind_requests_in_flight():
    slow = StageCosts(**{**vars(stage()), "forward": LaneTimes(Transfer(0.0, 1.0), 0.25, Transfer())})
    found = replay([stage(forward_s=0.0, backward_s=0.0), slow], 8, iterations=1)
    received = [e.end_s for e in found.events if e.instruction.startswith("RF")]
    assert max(received) < 8 * 1.0


@pytest.mark.parametrize("seed", range(20))
def test_no_lane_does_two_things_at_once_and_nothing_is_received_before_it_was_sent(seed):
    generator = random.Random(seed)
    profile = random_profile(generator, layers=4)
    model = CostModel(
        profile=profile,
        platform=PLATFORMS["aws-lambda"],
        training=make_training(),
        architecture=Architecture.X86_64,
    )
    cuts = [0, *sorted(generator.sample([1, 2, 3], 2)), 4]
    plan = [model.stage(a, b, 1769, generator.choice([1, 2, 3])) for a, b in itertools.pairwise(cuts)]
    found = replay(plan, 8, iterations=2)
    sent = {(e.stage, e.iteration, e.instruction): e.end_s for e in found.events}
    for event in found.events:
        if event.instruction.startswith("RF"):
            came = sent[event.stage - 1, event.iteration, event.instruction.replace("R", "S")]
            assert event.end_s >= came
    for index, costs in enumerate(plan):
        for replica in range(costs.replicas):
            lane = [e for e in found.events if (e.stage, e.replica, e.lane) == (index, replica, Lane.COMPUTE)]
            lane.sort(key=lambda e: (e.start_s, e.end_s))
            for a, b in itertools.pairwise(lane):
                assert b.start_s >= a.end_s - 1e-9
    # The closed form adds what the simulation overlaps; they must stay near each other.
    assert found.iteration_s == pytest.approx(model.iteration_s(plan), rel=0.5)


def test_the_first_of_a_series_costs_more_looks_in_vain_than_those_behind_it():
    """Slow links, so all are awaited: stage 1 gets 4 activations in a row, stage 0 gets 4 gradients."""
    simulation = replay([stage(link_s=9.0), stage(link_s=9.0)], 4)
    expected = LOOKS_IN_VAIN + 3 * LOOKS_IN_VAIN_FOLLOWING
    assert simulation.empty_gets == pytest.approx((expected, expected))


def test_activations_and_gradients_by_turns_are_each_a_first_one():
    """1F1B, the middle stage: a0 a1 g0 a2 g1 a3 g2 g3, where only a1 and g3 follow one of their kind."""
    plan = [stage(link_s=9.0), stage(link_s=9.0), stage(link_s=9.0)]
    simulation = simulate(plan, schedule=ScheduleName.ONE_F_ONE_B, shares=[1.0] * 4, get_latency_s=0.027, iterations=3)
    assert simulation.empty_gets[1] == pytest.approx(6 * LOOKS_IN_VAIN + 2 * LOOKS_IN_VAIN_FOLLOWING)


def on_one_machine(**changes):
    """Two stages over links of a tenth of a second, whose first samples take 5 s."""
    return simulate(
        [stage(link_s=0.1), stage(link_s=0.1)],
        schedule=ScheduleName.GPIPE,
        shares=[1.0] * 3,
        get_latency_s=0.01,
        iterations=8,
        loads=SampleLoads((5.0, 0.0), (0.1, 0.0), cached=True),
        **changes,
    )


def test_samples_that_are_held_are_loaded_once():
    found = on_one_machine(sharing=Sharing(cores=2, timed_links=True))
    loads = {
        e.iteration: e.end_s - e.start_s - e.waited_s for e in found.events if (e.stage, e.instruction) == (0, "L0")
    }
    assert loads[0] == pytest.approx(5.0)
    assert [loads[iteration] for iteration in (1, 2, 3)] == pytest.approx([0.0] * 3)


def test_of_runs_that_differ_the_median_one_is_told_and_always_the_same():
    calm = on_one_machine(sharing=Sharing(cores=2, timed_links=True))
    delays = Delays(instruction_s=((0.0, 0.05),), object_s=((0.0, 0.02),))
    noisy = [on_one_machine(sharing=Sharing(cores=2, timed_links=True, delays=delays)) for _ in range(2)]
    assert noisy[0].replay.finished == noisy[1].replay.finished
    added = noisy[0].typical_s(8) - calm.typical_s(8)
    assert 4 * 0.05 < added < 16 * 0.05, "four to eight instructions lie on the critical path"


def test_a_worker_that_has_rested_for_long_takes_longer():
    """Some computations here are half a second after the one before, none is 30 s."""

    def typical_s(**delays):
        return on_one_machine(sharing=Sharing(cores=2, timed_links=True, delays=Delays(**delays))).typical_s(8)

    calm, half, long = (typical_s(), *(((rest_s, 0.0), (1.01 * rest_s, 0.1)) for rest_s in (0.5, 30.0)))
    assert typical_s(instruction_s=half) > calm + 0.05
    assert typical_s(object_s=half) > calm + 0.05
    assert typical_s(instruction_s=long) == typical_s(object_s=long) == pytest.approx(calm, abs=0.02)


def test_what_a_rest_adds_is_told_at_some_and_linear_between():
    delay = Delay(((0.1, 0.02), (0.3, 0.06)), worker=1)
    assert [delay.mean_s(rest_s) for rest_s in (0.0, 0.1, 0.2, 0.3, 9.0)] == pytest.approx(
        [0.02, 0.02, 0.04, 0.06, 0.06]
    )


def test_the_typical_iteration_is_the_runs_median():
    found = on_one_machine(sharing=Sharing(cores=2, timed_links=True))
    ends = found.replay.finished
    assert found.typical_s(4) == pytest.approx(sorted(b - a for a, b in pairwise(ends[:4]))[1])
    assert found.typical_s(1_000) == pytest.approx(found.iteration_s)
