"""The one decision of an attempt, and the files that commits make needless."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime import keys
from runtime.closing import files_of, sweep, write_commit
from runtime.errors import FuncpipeError
from runtime.keys import GangKeys
from runtime.outcome import GangAborted, NoCommit, commits_back, decide, last_commit, read_commit, read_outcome
from runtime.records import Abort, Commit, EndReason, Traffic, WorkerEvent, WorkerSummary
from runtime.store import StoreUnavailable
from runtime.store_directory import DirectoryStore

A, B, C, D = (letter * 64 for letter in "abcd")


def a_commit(number, layers, *, attempt=0, base=keys.INITIAL, iteration=None):
    return Commit(
        number=number,
        attempt=attempt,
        base=base if number else None,
        iteration=number if iteration is None else iteration,
        layers=layers,
        reason=EndReason.TIME if number else None,
        billed_s=0.0,
        spent_usd=0.0,
        at=float(number),
    )


def an_abort(message="m"):
    return Abort(reason="failure", retryable=True, message=message, begun_at=0.0, at=1.0)


@pytest.fixture
def store(tmp_path):
    store = DirectoryStore(tmp_path)
    store.put(keys.commit("r", keys.INITIAL), a_commit(0, [f"initial/{A}"]).model_dump_json().encode())
    return store


def test_of_many_who_decide_one_does_and_all_are_told_the_same(store):
    gang = GangKeys("r", 0, 0)
    wanted = [a_commit(1, [f"00000/{B}"], iteration=i) if i % 2 else an_abort(str(i)) for i in range(16)]
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda outcome: decide(store, gang, outcome), wanted))
    assert all(outcome == told[0] for outcome in told)
    assert told[0] in wanted and read_outcome(store, gang) == told[0]


class AnswersLate(DirectoryStore):
    """Whose conditional PUT is done, and then repeated because the answer was lost."""

    def put(self, key, body, *, if_absent=False):
        super().put(key, body, if_absent=if_absent)
        return super().put(key, body, if_absent=if_absent)


def test_a_commit_whose_answer_was_lost_counts(tmp_path):
    write_commit(AnswersLate(tmp_path), GangKeys("r", 0, 0), a_commit(1, [f"00000/{B}"]))


def test_an_aborted_attempt_cannot_commit(store):
    decide(store, GangKeys("r", 0, 0), an_abort("another worker failed"))
    with pytest.raises(GangAborted, match="another worker failed"):
        write_commit(store, GangKeys("r", 0, 0), a_commit(1, [f"00000/{B}"]))
    assert last_commit(store, "r").number == 0
    with pytest.raises(NoCommit, match="attempt 0-0 of run r was aborted"):
        read_commit(store, "r", "0-0")


def test_the_newest_commit_is_found_by_number_whatever_was_aborted(store):
    for segment in range(12):
        decide(store, GangKeys("r", segment, 0), an_abort())
        base = f"{segment - 1}-1" if segment else keys.INITIAL
        decide(store, GangKeys("r", segment, 1), a_commit(segment + 1, [f"initial/{A}"], attempt=1, base=base))
    decide(store, GangKeys("r", 12, 0), an_abort())
    newest = last_commit(store, "r")
    assert (newest.number, newest.name) == (12, "11-1")
    assert [commit.number for commit in commits_back(store, "r", newest)] == list(range(12, -1, -1))
    with pytest.raises(NoCommit, match="run other has no commit initial"):
        last_commit(store, "other")


def chain(store, *layers):
    """Commits 1, 2, ... with these layers; the last one is returned."""
    newest = read_commit(store, "r", keys.INITIAL)
    for number, names in enumerate(layers, start=1):
        newest = a_commit(number, names, base=newest.name)
        assert decide(store, GangKeys("r", number - 1, 0), newest) == newest
    return newest


def files(store):
    return {keys.parse_layer("r", key) for key in store.list(keys.layers_prefix("r"))}


def test_what_the_last_commits_name_is_kept_and_all_else_goes(store):
    kept = {f"initial/{A}", f"00001/{B}", f"00002/{C}"}
    needless = {f"00000/{B}", f"00001/{D}", f"00002/{D}", f"initial/{D}"}
    later = {f"00003/{D}"}
    for name in kept | needless | later:
        store.put(keys.layer("r", name), b"")
    newest = chain(
        store, [f"initial/{A}", f"00000/{B}"], [f"initial/{A}", f"00001/{B}"], [f"initial/{A}", f"00002/{C}"]
    )
    sweep(store, "r", newest, kept=2)
    assert files(store) == kept | later, "a later segment's files are not this commit's to judge"


def test_a_leader_that_sweeps_late_takes_nothing_that_later_commits_name(store):
    """However far the run has come: commit 1's leader was paused before its sweep."""
    first = chain(store, [f"initial/{A}", f"00000/{B}"])
    for name in (f"initial/{A}", f"00000/{B}", f"00001/{A}", f"00002/{B}"):
        store.put(keys.layer("r", name), b"")
    for number, names in [(2, [f"00001/{A}", f"00000/{B}"]), (3, [f"00001/{A}", f"00002/{B}"])]:
        decide(store, GangKeys("r", number - 1, 0), a_commit(number, names, base=f"{number - 2}-0"))
    sweep(store, "r", first, kept=1)
    assert {f"00001/{A}", f"00002/{B}"} <= files(store)


def test_storage_that_fails_in_a_sweep_fails_nothing_else(store):
    class Failing(DirectoryStore):
        def delete(self, key):
            raise StoreUnavailable("later")

    newest = chain(store, [f"00000/{B}"], [f"00001/{C}"])
    store.put(keys.layer("r", f"00000/{D}"), b"")
    sweep(Failing(store.root), "r", newest, kept=1)
    assert f"00000/{D}" in files(store)


def summary(stage, end, saved):
    event = WorkerEvent(
        run="r", segment=0, attempt=0, stage=stage, replica=0, manifest_sha256="a" * 64, commit=keys.INITIAL
    )
    return WorkerSummary(
        event=event,
        started_at=0,
        ended_at=1,
        first_iteration=0,
        end_iteration=end,
        iteration_ends=[],
        losses=[],
        peak_memory_mb=1,
        traffic=Traffic(),
        request_id="x",
        checkpoint=saved,
    )


def test_a_commit_needs_every_layer_of_one_iteration():
    told = [summary(0, 3, {"0": f"00000/{A}"}), summary(1, 3, {"1": f"00000/{B}", "2": f"00000/{C}"})]
    assert files_of(told, 3, 3) == [f"00000/{A}", f"00000/{B}", f"00000/{C}"]
    with pytest.raises(FuncpipeError, match="no worker has saved layer 3"):
        files_of(told, 4, 3)
    with pytest.raises(FuncpipeError, match="stage 1 ended at another iteration"):
        files_of([told[0], summary(1, 4, {"1": f"00000/{B}"})], 2, 3)
