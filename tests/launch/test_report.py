import pytest

from launch.bill import bill_by_records
from launch.report import make_report
from launch.run_records import RunRecords
from launch.status import RunState, StatusReader
from runtime.records import Traffic
from runtime.store_directory import DirectoryStore
from tests.launch.hand_written import (
    RUN,
    a_failure,
    an_abort,
    put_abort,
    put_commit,
    put_failure,
    put_manifest,
    put_summary,
)
from tests.manifests import make_manifest


@pytest.fixture
def manifest():
    """3 workers; 8 iterations in 2 segments of 4."""
    return make_manifest(replicas=[2, 1], train_samples=256, segment_iterations=4)


@pytest.fixture
def store(tmp_path, manifest) -> DirectoryStore:
    store = DirectoryStore(tmp_path)
    put_manifest(store, manifest)
    put_commit(store, manifest, 0)
    return store


def report(store: DirectoryStore):
    records = RunRecords(store, RUN)
    status = StatusReader(records).read(5000.0)
    return make_report(records, status, "local", None, "no test split", bill_by_records(records, 5000.0))


def finish(store, manifest, segment: int, begin: float, ends: list[list[float]], peaks: list[float]) -> None:
    workers = [(0, 0), (0, 1), (1, 0)]
    for (stage, replica), at, peak in zip(workers, ends, peaks, strict=True):
        put_summary(
            store,
            manifest,
            stage,
            replica,
            segment=segment,
            started_at=begin + 0.5 * stage,
            iteration_ends=[begin + second for second in at],
            ended_at=begin + at[-1] + 1,
            losses=[0.9, 0.8, 0.7, 0.6 - 0.1 * segment] if stage == 1 else [],
            peak_memory_mb=peak,
            traffic=Traffic(puts=1, gets=3, empty_gets=1, deletes=2, bytes_up=10, bytes_down=20),
        )
    put_commit(store, manifest, segment + 1)


def test_time_memory_and_traffic_of_a_finished_run(store, manifest):
    # An iteration ends when its slowest worker has ended it: 5, 7, 9, 12 s into the segment, then 4, 6, 8, 10.
    finish(store, manifest, 0, 1000, [[4, 6, 8, 12], [5, 7, 9, 11], [3, 5, 7, 9]], [100, 120, 300])
    finish(store, manifest, 1, 1020, [[4, 6, 8, 10], [4, 6, 8, 10], [3, 5, 7, 9]], [110, 90, 310])
    made = report(store)
    assert made.state is RunState.DONE
    assert made.timing.measured_iteration_s == pytest.approx(2.0)  # of 2, 2, 3, 2, 2, 2
    assert made.timing.start_up_s == pytest.approx(2.5)  # of 5 - 2 and 4 - 2
    assert made.timing.wall_s == pytest.approx(31.0)
    assert made.timing.predicted_iteration_s == 1.0
    assert [(m.stage, m.predicted_mb, m.measured_mb) for m in made.memory] == [(0, 768, 120), (1, 768, 310)]
    assert made.traffic == Traffic(puts=6, gets=18, empty_gets=6, deletes=12, bytes_up=60, bytes_down=120)
    assert made.training_loss == pytest.approx(0.5)
    assert made.failures == ()


def test_a_run_that_failed_at_once_still_has_an_account(store, manifest):
    cause = a_failure(manifest, stage=0)
    put_failure(store, cause)
    put_abort(store, an_abort("m", cause))
    made = report(store)
    assert made.state is RunState.FAILED
    assert made.failures == (cause,)
    assert made.timing.measured_iteration_s is None and made.timing.wall_s is None
    assert [m.measured_mb for m in made.memory] == [None, None]
    document = made.to_dict()
    assert document["failures"][0]["instruction"] == "B2"
    assert document["bill"]["total_usd"] >= 0
