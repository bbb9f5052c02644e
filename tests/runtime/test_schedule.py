from runtime.batches import replica_of
from runtime.schedule import Lane, Op, ScheduleName, gang_programs, kept_at_once, lanes, worker_program


def words(program):
    return " ".join(map(str, program))


def gpipe(stage, replica, replicas, micro_batches):
    return worker_program(ScheduleName.GPIPE, stage, replica, replicas, micro_batches)


def computed(schedule, replicas, micro_batches):
    """By worker, its forwards and backwards."""
    programs = gang_programs(schedule, replicas, micro_batches)
    return {worker: words(i for i in p if i.op in (Op.FORWARD, Op.BACKWARD)) for worker, p in programs.items()}


def test_gpipe_first_middle_and_last_stage():
    assert words(gpipe(0, 0, [1, 1, 1], 2)) == "L0 F0 SF0 L1 F1 SF1 RB0 B0 RB1 B1 U"
    assert words(gpipe(1, 0, [1, 1, 1], 2)) == "RF0 F0 SF0 RF1 F1 SF1 RB0 B0 SB0 RB1 B1 SB1 U"
    assert words(gpipe(2, 0, [1, 1, 1], 2)) == "L0 RF0 F0 L1 RF1 F1 B0 SB0 B1 SB1 U"


def test_one_stage_needs_no_neighbour():
    assert words(gpipe(0, 0, [1], 2)) == "L0 F0 L1 F1 B0 B1 U"


def test_replicas_share_the_micro_batches_and_reduce():
    assert words(gpipe(1, 1, [1, 2], 3)) == "L1 RF1 F1 B1 SB1 R U"


def test_a_replica_without_a_micro_batch_still_reduces():
    assert words(gpipe(0, 2, [3, 1], 2)) == "R U"


def test_lanes_keep_the_order():
    split = lanes(gpipe(1, 0, [1, 1, 1], 2))
    assert words(split[Lane.DOWNLOAD]) == "RF0 RF1 RB0 RB1"
    assert words(split[Lane.COMPUTE]) == "F0 F1 B0 B1 U"
    assert words(split[Lane.UPLOAD]) == "SF0 SF1 SB0 SB1"


def test_every_micro_batch_is_computed_once_by_its_replica():
    for degree in (1, 2, 3, 5):
        forward = [
            (i.micro_batch, r) for r in range(degree) for i in gpipe(1, r, [1, degree, 1], 7) if i.op is Op.FORWARD
        ]
        assert sorted(forward) == [(m, replica_of(m, degree)) for m in range(7)]


def test_one_forward_one_backward():
    assert computed(ScheduleName.ONE_F_ONE_B, [1, 1, 1], 5) == {
        (0, 0): "F0 F1 F2 B0 F3 B1 F4 B2 B3 B4",
        (1, 0): "F0 F1 B0 F2 B1 F3 B2 F4 B3 B4",
        (2, 0): "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4",
    }


def test_eager_has_two_more_forwards_per_boundary_that_follows():
    assert computed(ScheduleName.EAGER_ONE_F_ONE_B, [1, 1], 6) == {
        (0, 0): "F0 F1 F2 F3 B0 F4 B1 F5 B2 B3 B4 B5",
        (1, 0): "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5",
    }


def test_windows_count_micro_batches_of_all_replicas():
    # Two replicas behind one: while one micro-batch is with them, it takes two others to keep stage 0 computing.
    assert computed(ScheduleName.ONE_F_ONE_B, [1, 2], 6) == {
        (0, 0): "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 B4 B5",
        (1, 0): "F0 B0 F2 B2 F4 B4",
        (1, 1): "F1 B1 F3 B3 F5 B5",
    }


def test_as_published_with_one_replica_everywhere():
    for stages in range(1, 9):
        for stage in range(stages):
            kept = kept_at_once(ScheduleName.ONE_F_ONE_B, stage, [1] * stages, 100)
            assert kept == stages - stage
            for degree in (2, 3, 5):  # and so on each of as many pipelines side by side
                assert kept_at_once(ScheduleName.ONE_F_ONE_B, stage, [degree] * stages, 500) == kept


def test_with_fewer_micro_batches_than_stages_all_schedules_are_one():
    for schedule in ScheduleName:
        assert computed(schedule, [1, 1, 1, 1], 1) == {(stage, 0): "F0 B0" for stage in range(4)}


def test_backwards_keep_the_order_of_micro_batches():
    """So a worker adds up gradients in the same order under every schedule, and the sums have the same bits."""
    for schedule in ScheduleName:
        for program in gang_programs(schedule, [2, 3, 1], 11).values():
            for op in (Op.FORWARD, Op.BACKWARD):
                order = [i.micro_batch for i in program if i.op is op]
                assert order == sorted(order)
