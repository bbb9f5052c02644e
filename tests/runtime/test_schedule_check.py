import random
from itertools import product

import pytest

from runtime.pacing import IN_FLIGHT
from runtime.schedule import Instruction, Lane, Op, ScheduleName, gang_programs, kept_at_once
from runtime.schedule_check import find_faults, finish_times, peak_kept

F, B, U = Op.FORWARD, Op.BACKWARD, Op.STEP


def plans():
    """1,742 combinations of replicas per stage and micro-batches: all small ones, and larger ones by chance."""
    small = [(d, m) for s in (1, 2, 3, 4) for d in product((1, 2, 3), repeat=s) for m in (1, 2, 3, 4, 5, 6, 7)]
    generator = random.Random(0)
    large = [
        ([generator.randint(1, 6) for _ in range(generator.randint(2, 6))], generator.randint(1, 12))
        for _ in range(800)
    ]
    wide = [((degree, 1, degree), m) for degree in (5, 9, 13) for m in range(1, 60, 2)]
    deep = [([1] * stages, m) for stages in (8, 12, 16) for m in (1, 5, 16, 20)]
    return small + large + wide + deep


@pytest.mark.parametrize("schedule", ScheduleName)
def test_every_plan_ends_and_keeps_what_is_promised(schedule):
    combinations = plans()
    assert len(combinations) >= 5_000 / len(ScheduleName)
    for replicas, micro_batches in combinations:
        programs = gang_programs(schedule, replicas, micro_batches)
        assert find_faults(programs) == [], (replicas, micro_batches)
        for stage, degree in enumerate(replicas):
            peak = max(peak_kept(programs[stage, replica]) for replica in range(degree))
            assert peak == kept_at_once(schedule, stage, replicas, micro_batches), (replicas, micro_batches)


@pytest.mark.parametrize("schedule", ScheduleName)
@pytest.mark.parametrize(("in_flight", "uploads"), [(1, 1), (1, 8), (2, 1), (IN_FLIGHT, 1)])
def test_narrow_lanes_do_not_stop_a_plan_either(schedule, in_flight, uploads):
    for replicas in product((1, 2, 4), repeat=3):
        programs = gang_programs(schedule, replicas, 7)
        assert find_faults(programs, in_flight=in_flight, uploads=uploads, iterations=3) == []


def edited(programs, worker, edit):
    return {**programs, worker: tuple(edit(list(programs[worker])))}


def without(*instructions):
    return lambda program: [i for i in program if i not in instructions]


def swapped(a, b):
    def edit(program):
        first, second = program.index(a), program.index(b)
        program[first], program[second] = program[second], program[first]
        return program

    return edit


GANG = gang_programs(ScheduleName.ONE_F_ONE_B, [2, 1], 4)


@pytest.mark.parametrize(
    ("worker", "edit", "finding"),
    [
        ((0, 1), without(Instruction(Op.SEND_ACTIVATION, 1)), "stage 1 replica 0: RF1 is sent by nobody"),
        ((0, 1), without(Instruction(Op.RECEIVE_GRADIENT, 1)), "stage 1 replica 0: SB1 is awaited by nobody"),
        ((0, 1), without(Instruction(Op.RECEIVE_GRADIENT, 1)), "stage 0 replica 1: B1 comes before RB1"),
        ((0, 0), without(Instruction(B, 2)), "stage 0 replica 0: F2 has no B2"),
        ((1, 0), without(Instruction(F, 3)), "stage 1: leaves out micro-batch 3"),
        ((1, 0), without(Instruction(Op.LOAD, 3)), "stage 1 replica 0: F3 comes before L3"),
        ((1, 0), without(Instruction(U)), "stage 1 replica 0: does not end with U"),
        ((0, 0), without(Instruction(Op.REDUCE)), "stage 0 replica 0: does not end with R U"),
        ((1, 0), lambda p: [p[0], *p], "stage 1 replica 0: L0 comes twice"),
        ((1, 0), swapped(Instruction(F, 0), Instruction(Op.RECEIVE_ACTIVATION, 0)), "F0 comes before RF0"),
        ((0, 0), swapped(Instruction(Op.SEND_ACTIVATION, 0), Instruction(F, 0)), "SF0 comes before F0"),
    ],
)
def test_what_does_not_fit_is_told(worker, edit, finding):
    assert any(finding in fault for fault in find_faults(edited(GANG, worker, edit)))


def test_a_micro_batch_at_the_wrong_replica_is_told():
    swapped_replicas = {**GANG, (0, 0): GANG[0, 1], (0, 1): GANG[0, 0]}
    assert "stage 0 replica 0: F1 belongs to replica 1" in find_faults(swapped_replicas)


def stuck_gang():
    """Stage 0 wants the gradient of 0 before it computes 1; stage 1 wants the activation of 1 before it returns 0."""
    gpipe = gang_programs(ScheduleName.GPIPE, [1, 1], 2)
    one_by_one = [i for m in (0, 1) for i in gpipe[0, 0] if i.micro_batch == m]
    return {(0, 0): (*one_by_one, Instruction(U)), (1, 0): gpipe[1, 0]}


def test_workers_that_wait_for_each_other_are_told():
    patient = gang_programs(ScheduleName.ONE_F_ONE_B, [1, 1], 2)[1, 0]
    assert find_faults({**stuck_gang(), (1, 0): patient}) == []
    assert find_faults(stuck_gang()) == [
        "stage 0 replica 0: waits without end at RB0, iteration 0",
        "stage 1 replica 0: waits without end at RF1, iteration 0",
    ]


def makespan(schedule, replicas, micro_batches, *, transfer):
    """Seconds when every stage keeps pace with one micro-batch a second, forward 1/3 and backward 2/3 of it.

    Args:
        transfer: seconds of one transfer, as a share of what its worker computes on the micro-batch.
    """

    def seconds(worker, instruction):
        degree = replicas[worker[0]]
        if instruction.op in (Op.FORWARD, Op.BACKWARD):
            return degree * (1 if instruction.op is Op.FORWARD else 2) / 3
        return degree * transfer if instruction.op.lane is not Lane.COMPUTE and instruction.op is not Op.LOAD else 0.0

    times = finish_times(gang_programs(schedule, replicas, micro_batches), seconds)
    return max(end for _, end in times.values())


def test_times_by_hand():
    # stage 0   F0 F1 .  B0 .  B1       one second each, transfers none
    # stage 1   .  F0 B0 F1 B1
    programs = gang_programs(ScheduleName.ONE_F_ONE_B, [1, 1], 2)
    times = finish_times(programs, lambda worker, i: 1.0 if i.op in (F, B) else 0.0)
    found = {
        (stage, str(programs[stage, 0][number])): begin
        for ((stage, _), number), (begin, _) in times.items()
        if programs[stage, 0][number].op in (F, B)
    }
    stage_0 = {(0, "F0"): 0, (0, "F1"): 1, (0, "B0"): 3, (0, "B1"): 5}
    assert found == {**stage_0, (1, "F0"): 1, (1, "B0"): 2, (1, "F1"): 3, (1, "B1"): 4}


def test_programs_that_never_end_have_no_times():
    with pytest.raises(ValueError, match="waits without end"):
        finish_times(stuck_gang(), lambda worker, instruction: 1.0)


def test_keeping_fewer_micro_batches_costs_no_time_where_it_is_meant_not_to():
    """Against GPipe, which keeps all: 1F1B without transfers, eager 1F1B with transfers half as long as computing."""
    for replicas in [d for s in (1, 2, 3, 4) for d in product((1, 2, 3), repeat=s)]:
        for schedule, transfer in ((ScheduleName.ONE_F_ONE_B, 0.0), (ScheduleName.EAGER_ONE_F_ONE_B, 0.5)):
            least = makespan(ScheduleName.GPIPE, replicas, 16, transfer=transfer)
            found = makespan(schedule, replicas, 16, transfer=transfer)
            assert found <= 1.10 * least, (schedule, replicas)
