import json

import pytest

from launch.following import Ending, follow
from launch.run_records import RunRecords
from launch.status import FRESH_S, RunState, StatusReader, losses, primary_failures, worker_seconds
from runtime.errors import FuncpipeError, UserInputError
from runtime.keys import GangKeys
from runtime.records import EndReason
from runtime.store import Data, Found, Store
from runtime.store_directory import DirectoryStore
from tests.launch.hand_written import (
    RUN,
    a_failure,
    an_abort,
    event,
    put_abort,
    put_commit,
    put_failure,
    put_manifest,
    put_progress,
    put_summary,
)
from tests.manifests import make_manifest

NOW = 1012.0


@pytest.fixture
def manifest():
    """3 workers, 10 iterations in segments of 4, 4 and 2."""
    return make_manifest(
        replicas=[1, 2], memory_mb=[1024, 2048], train_samples=320, global_batch_size=32, segment_iterations=4
    )


@pytest.fixture
def store(tmp_path, manifest) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "artifacts")
    put_manifest(store, manifest)
    put_commit(store, manifest, 0)
    return store


def status(store: Store, now: float = NOW):
    return StatusReader(RunRecords(store, RUN)).read(now)


def finish_segment(store, manifest, segment: int, started_at: float = 900.0) -> None:
    steps = min(4, 10 - 4 * segment)
    put_summary(store, manifest, 0, segment=segment, started_at=started_at, ended_at=started_at + 10)
    for replica in range(2):
        put_summary(
            store,
            manifest,
            1,
            replica,
            segment=segment,
            started_at=started_at,
            ended_at=started_at + 10,
            losses=[0.5 - 0.1 * segment] * steps,
        )
    put_commit(store, manifest, segment + 1)


def test_a_run_that_was_never_staged_is_the_users_mistake(tmp_path):
    with pytest.raises(UserInputError, match="'by-hand' has no manifest"):
        RunRecords(DirectoryStore(tmp_path), RUN)


def test_before_any_worker_has_spoken_the_run_is_starting(store):
    found = status(store)
    assert found.state is RunState.STARTING
    assert (found.iterations_done, found.iterations_total) == (0, 10)
    assert (found.segment, found.segments) == (0, 3)
    assert [(s.alive, s.expected) for s in found.stages] == [(0, 1), (0, 2)]
    assert found.usd_so_far == 0
    assert found.eta_s == pytest.approx(10.0)  # as predicted: 1 s each


def test_progress_counts_what_all_workers_have_done(store):
    put_progress(store, 0, 0, 2)
    put_progress(store, 1, 0, 2, loss=0.25)
    put_progress(store, 1, 1, 3, loss=0.5)
    found = status(store)
    assert found.state is RunState.RUNNING
    assert found.iterations_done == 2
    assert found.loss == pytest.approx(0.75)
    assert found.loss_is_approximate
    assert [s.alive for s in found.stages] == [1, 2]


def test_a_stale_progress_record_does_not_hold_back_the_count(store):
    put_progress(store, 0, 0, 0)
    put_progress(store, 1, 0, 3, loss=0.2)
    put_progress(store, 1, 1, 3, loss=0.2)
    found = status(store)
    assert found.iterations_done == 2
    assert not found.loss_is_approximate


def test_the_loss_waits_for_all_replicas_of_the_last_stage(store):
    put_progress(store, 1, 0, 2, loss=0.25)
    assert status(store).loss is None


def test_a_silent_worker_is_not_alive_and_its_clock_stops(store):
    put_progress(store, 0, 0, 2, started_at=1000, updated_at=1010)
    put_progress(store, 1, 0, 2, started_at=1000, updated_at=1010 + FRESH_S)
    now = 1011 + FRESH_S
    found = status(store, now)
    assert [s.alive for s in found.stages] == [0, 1]
    records = RunRecords(store, RUN)
    records.refresh()
    assert worker_seconds(records, now) == {(0, 0, 0, 0): 10, (0, 0, 1, 0): now - 1000}


def test_cost_so_far_is_workers_time_times_their_stages_memory(store):
    put_progress(store, 0, 0, 2, started_at=NOW - 5, updated_at=NOW)
    put_progress(store, 1, 0, 2, started_at=NOW - 4, updated_at=NOW)
    records = RunRecords(store, RUN)
    price = records.manifest.spending.prices.usd_per_gb_s
    assert status(store).usd_so_far == pytest.approx((5 * 1 + 4 * 2) * price)


def test_the_next_segment_starts_where_the_last_one_ended(store, manifest):
    finish_segment(store, manifest, 0)
    found = status(store)
    assert (found.segment, found.iterations_done, found.committed_iteration) == (1, 4, 4)
    assert found.loss == pytest.approx(1.0)
    assert [s.alive + s.finished for s in found.stages] == [0, 0]
    put_progress(store, 0, 0, 6, segment=1)
    put_progress(store, 1, 0, 6, segment=1, loss=0.3)
    put_progress(store, 1, 1, 6, segment=1, loss=0.3)
    found = status(store)
    assert (found.iterations_done, found.committed_iteration) == (6, 4)
    assert found.loss == pytest.approx(0.6)


def test_all_segments_committed_is_done(store, manifest):
    for segment in range(3):
        finish_segment(store, manifest, segment)
    found = status(store)
    assert found.state is RunState.DONE and found.ended
    assert (found.iterations_done, found.segment, found.eta_s) == (10, 2, None)
    records = RunRecords(store, RUN)
    records.refresh()
    assert losses(records) == pytest.approx(
        {**dict.fromkeys(range(4), 1.0), **dict.fromkeys(range(4, 8), 0.8), 8: 0.6, 9: 0.6}
    )


def test_eta_follows_the_rate_seen_without_start_up(store):
    reader = StatusReader(RunRecords(store, RUN))
    etas = []
    for at, iteration in ((1000.0, 0), (1050.0, 2), (1054.0, 4), (1054.0, 4)):
        for stage, replica in ((0, 0), (1, 0), (1, 1)):
            put_progress(store, stage, replica, iteration, updated_at=at)
        etas.append(reader.read(at).eta_s)
    assert etas == pytest.approx([10 * 1.0, 8 * 1.0, 6 * 2.0, 6 * 2.0])  # as predicted twice, then as seen


def test_a_failure_is_told_with_its_place_and_followers_are_not(store, manifest):
    for stage, replica in ((0, 0), (1, 0), (1, 1)):
        put_progress(store, stage, replica, 3)
    cause = a_failure(manifest, stage=1, replica=1)
    put_failure(store, cause)
    put_failure(store, a_failure(manifest, stage=0, kind="aborted", at=1006))
    put_abort(store, an_abort("stage 1 failed", cause))
    found = status(store)
    assert found.state is RunState.FAILED
    assert found.failures == (cause,)
    assert found.message == "stage 1 failed"
    assert [s.alive for s in found.stages] == [0, 1]


def test_a_failure_known_only_from_the_abort_marker_is_told_too(store, manifest):
    cause = a_failure(manifest)
    put_abort(store, an_abort("m", cause))
    records = RunRecords(store, RUN)
    records.refresh()
    assert primary_failures(records) == (cause,)


def test_a_death_told_by_the_workflow_says_where_the_worker_was(store, manifest):
    """The marker as Step Functions writes it: times in ISO 8601, Lambda's error as JSON in text."""
    put_progress(store, 1, 1, 7)
    cause = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": "Error: signal: killed"})
    marker = {
        "outcome": "aborted",
        "reason": "failure",
        "retryable": False,
        "message": f"stage 1, replica 1, segment 0, attempt 0: Runtime.ExitError: {cause}",
        "failure": {
            "event": event(manifest, 1, 1).model_dump(),
            "kind": "died",
            "error": f"Runtime.ExitError: {cause}",
            "at": "1970-01-01T00:16:45.000Z",
        },
        "begun_at": "1970-01-01T00:16:40.000Z",
        "at": "1970-01-01T00:16:45.000Z",
    }
    store.put(GangKeys(RUN, 0, 0).outcome, json.dumps(marker).encode())
    found = status(store)
    assert found.state is RunState.FAILED
    (failure,) = found.failures
    assert (failure.kind, failure.iteration, failure.at) == ("died", 7, 1005)
    assert failure.error.startswith("Runtime.ExitError: Error: signal: killed\n")
    assert "2048 MB" in failure.error and found.message == failure.error


def test_a_run_whose_budget_is_used_up_is_stopped_with_what_it_has_saved(tmp_path):
    manifest = make_manifest(replicas=[1, 2], iterations=10, segment_iterations=4, budget_usd=0.0015)
    store = DirectoryStore(tmp_path)
    put_manifest(store, manifest)
    put_commit(store, manifest, 0)
    put_commit(store, manifest, 1, reason=EndReason.BUDGET)
    found = status(store)
    assert (found.state, found.committed_iteration, found.segment, found.attempt) == (RunState.STOPPED, 4, 0, 0)
    assert "0.001 of 0.0015 USD are spent" in found.message


def test_a_stopped_run_is_stopped(store):
    put_progress(store, 0, 0, 1)
    put_abort(store, an_abort("by hand"))
    found = status(store)
    assert (found.state, found.message) == (RunState.STOPPED, "by hand")


def test_a_stop_that_comes_with_a_segments_commit_is_a_stop(store, manifest):
    put_progress(store, 0, 0, 1)
    put_commit(store, manifest, 1)
    put_abort(store, an_abort("by hand"), segment=1)
    found = status(store)
    assert (found.state, found.message, found.segment) == (RunState.STOPPED, "by hand", 1)


def test_between_two_attempts_a_run_goes_on(store, manifest):
    put_abort(store, an_abort("m", a_failure(manifest, kind="died"), retryable=True))
    assert status(store).state is RunState.RUNNING
    put_abort(store, an_abort("m", a_failure(manifest, kind="died"), retryable=True), attempt=1)
    put_abort(store, an_abort("the last one", a_failure(manifest, kind="stalled"), retryable=True), attempt=2)
    found = status(store)
    assert (found.state, found.message) == (RunState.FAILED, "the last one"), "attempts are used up"


def test_a_new_attempt_leaves_the_old_ones_failure_behind(store, manifest):
    put_abort(store, an_abort("m", a_failure(manifest, kind="stalled"), retryable=True))
    put_progress(store, 0, 0, 1, attempt=1)
    found = status(store)
    assert (found.state, found.attempt) == (RunState.RUNNING, 1)
    assert len(found.failures) == 1


def test_a_damaged_record_is_named(store):
    store.put(GangKeys(RUN, 0, 0).progress(0, 0), b'{"stage": 0}')
    with pytest.raises(FuncpipeError, match=r"progress/000-0000\.json: replica"):
        status(store)


def test_what_does_not_change_is_read_once(tmp_path, store, manifest):
    for segment in range(2):
        finish_segment(store, manifest, segment)
    put_progress(store, 0, 0, 9, segment=2)

    class Counting(DirectoryStore):
        def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
            fetched.append(key)
            return super().get(key, within_s=within_s, found=found)

        def list(self, prefix: str):
            listed.append(prefix)
            return super().list(prefix)

    fetched: list[str] = []
    listed: list[str] = []
    reader = StatusReader(RunRecords(Counting(store.root), RUN))
    reader.read(NOW)
    fetched.clear()
    listed.clear()
    reader.read(NOW)
    assert fetched == [GangKeys(RUN, 2, 0).progress(0, 0)]
    assert listed == ["runs/by-hand/outcomes/", "runs/by-hand/segments/00002/"]


def test_following_yields_until_the_executor_ends_and_reads_after_it(store, manifest):
    waits: list[float] = []

    def ending():
        if len(waits) < 2:
            return None
        for segment in range(3):
            finish_segment(store, manifest, segment)
        return Ending(succeeded=True)

    reader = StatusReader(RunRecords(store, RUN))
    seen = list(follow(reader, ending, poll_s=2.0, clock=lambda: NOW, wait=waits.append))
    assert [s.state for s in seen] == [RunState.STARTING, RunState.STARTING, RunState.DONE]
    assert waits == [2.0, 2.0]


def test_an_executor_that_dies_without_a_record_is_a_failure_with_its_reason(store):
    reader = StatusReader(RunRecords(store, RUN))
    ended = Ending(succeeded=False, message="execution TIMED_OUT: too slow")
    (last,) = follow(reader, lambda: ended, poll_s=1, clock=lambda: NOW)
    assert last.state is RunState.FAILED
    assert last.message is not None
    assert "execution TIMED_OUT: too slow" in last.message and "0 of 10 iterations" in last.message


def test_an_execution_that_was_stopped_elsewhere_is_stopped(store):
    reader = StatusReader(RunRecords(store, RUN))
    ended = Ending(succeeded=False, message="execution ABORTED", stopped=True)
    (last,) = follow(reader, lambda: ended, poll_s=1, clock=lambda: NOW)
    assert last.state is RunState.STOPPED
