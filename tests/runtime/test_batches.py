import pytest

from runtime.batches import iterations_per_epoch, micro_batches, replica_of, total_iterations


def test_last_batch_and_last_micro_batch_are_short():
    # 10 samples, batches of 4 in micro-batches of 3: [3 1] [3 1] [2]
    sizes = [[m.size for m in micro_batches(i, 10, 4, 3)] for i in range(3)]
    assert sizes == [[3, 1], [3, 1], [2]]
    assert [m.start for m in micro_batches(1, 10, 4, 3)] == [4, 7]
    assert [m.weight for m in micro_batches(0, 10, 4, 3)] == [0.75, 0.25]


def test_no_batch_straddles_two_epochs():
    assert [(m.epoch, m.start, m.size) for m in micro_batches(3, 10, 4, 4)] == [(1, 0, 4)]


@pytest.mark.parametrize(("samples", "batch", "micro"), [(1, 1, 1), (7, 100, 3), (100, 7, 7), (64, 16, 5)])
def test_an_epoch_covers_every_position_once(samples, batch, micro):
    steps = iterations_per_epoch(samples, batch)
    seen = [
        p
        for i in range(steps)
        for m in micro_batches(i, samples, batch, micro)
        for p in range(m.start, m.start + m.size)
    ]
    assert seen == list(range(samples))
    for i in range(steps):
        assert sum(m.weight for m in micro_batches(i, samples, batch, micro)) == pytest.approx(1, abs=1e-12)


def test_total_iterations_counts_epochs_or_takes_the_number_given():
    assert total_iterations(10, 4, 3, None) == 9
    assert total_iterations(10, 4, None, 5) == 5


def test_micro_batches_go_to_replicas_in_turn():
    assert [replica_of(m, 3) for m in range(5)] == [0, 1, 2, 0, 1]
