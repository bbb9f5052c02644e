from itertools import product

import pytest

from runtime.batches import replica_of
from runtime.schedule import Instruction, Lane, Op, gpipe, lanes


def words(program):
    return " ".join(map(str, program))


def test_gpipe_first_middle_and_last_stage():
    assert words(gpipe(0, 3, 0, 1, 2)) == "L0 F0 SF0 L1 F1 SF1 RB0 B0 RB1 B1 U"
    assert words(gpipe(1, 3, 0, 1, 2)) == "RF0 F0 SF0 RF1 F1 SF1 RB0 B0 SB0 RB1 B1 SB1 U"
    assert words(gpipe(2, 3, 0, 1, 2)) == "L0 RF0 F0 L1 RF1 F1 B0 SB0 B1 SB1 U"


def test_one_stage_needs_no_neighbour():
    assert words(gpipe(0, 1, 0, 1, 2)) == "L0 F0 L1 F1 B0 B1 U"


def test_replicas_share_the_micro_batches_and_reduce():
    assert words(gpipe(1, 2, 1, 2, 3)) == "L1 RF1 F1 B1 SB1 R U"


def test_a_replica_without_a_micro_batch_still_reduces():
    assert words(gpipe(0, 2, 2, 3, 2)) == "R U"


def test_lanes_keep_the_order():
    split = lanes(gpipe(1, 3, 0, 1, 2))
    assert words(split[Lane.DOWNLOAD]) == "RF0 RF1 RB0 RB1"
    assert words(split[Lane.COMPUTE]) == "F0 F1 B0 B1 U"
    assert words(split[Lane.UPLOAD]) == "SF0 SF1 SB0 SB1"


def replay(degrees, micro_batches):
    """Executes all workers' programs against each other; returns what was left to do when nothing could move."""
    stages = len(degrees)
    todo = {(s, r): list(gpipe(s, stages, r, d, micro_batches)) for s, d in enumerate(degrees) for r in range(d)}
    sent, arrived_at_reduce = set(), {}
    moved = True
    while moved:
        moved = False
        for (stage, replica), program in todo.items():
            while program:
                head: Instruction = program[0]
                if head.op is Op.RECEIVE_ACTIVATION and ("F", stage, head.micro_batch) not in sent:
                    break
                if head.op is Op.RECEIVE_GRADIENT and ("B", stage, head.micro_batch) not in sent:
                    break
                if head.op is Op.REDUCE:
                    arrived_at_reduce.setdefault(stage, set()).add(replica)
                    if len(arrived_at_reduce[stage]) < degrees[stage]:
                        break
                if head.op is Op.SEND_ACTIVATION:
                    sent.add(("F", stage + 1, head.micro_batch))
                if head.op is Op.SEND_GRADIENT:
                    sent.add(("B", stage - 1, head.micro_batch))
                program.pop(0)
                moved = True
    return {worker: program for worker, program in todo.items() if program}, sent


@pytest.mark.parametrize("micro_batches", [1, 2, 3, 5, 8])
def test_no_plan_deadlocks_and_every_send_has_its_receive(micro_batches):
    for stages in (1, 2, 3, 4):
        for degrees in product((1, 2, 3, 4), repeat=stages):
            left, sent = replay(degrees, micro_batches)
            assert left == {}, (degrees, micro_batches)
            received = {
                ("F" if i.op is Op.RECEIVE_ACTIVATION else "B", s, i.micro_batch)
                for s, d in enumerate(degrees)
                for r in range(d)
                for i in gpipe(s, stages, r, d, micro_batches)
                if i.op in (Op.RECEIVE_ACTIVATION, Op.RECEIVE_GRADIENT)
            }
            assert received == sent


def test_every_micro_batch_is_computed_once_by_its_replica():
    for degree in (1, 2, 3, 5):
        forward = [(i.micro_batch, r) for r in range(degree) for i in gpipe(1, 3, r, degree, 7) if i.op is Op.FORWARD]
        assert sorted(forward) == [(m, replica_of(m, degree)) for m in range(7)]
