"""What the audit finds in a run that is as the protocol promises, and in runs that are made not to be."""

from collections.abc import Callable

import pytest

from launch.audit import audit
from launch.run_records import RunRecords
from runtime import keys
from runtime.records import Abort, Commit, WorkerSummary, parse_outcome
from runtime.store_memory import MemoryStore
from tests.gangs import FixtureRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FixtureRun:
    """Two segments of two iterations; an attempt at the second one was aborted in its first iteration."""
    folder = tmp_path_factory.mktemp("run")
    plan = {"layers": [4, 4], "replicas": [1, 2], "global_batch_size": 16, "micro_batch_size": 4}
    run = FixtureRun(folder, model="tiny:build", iterations=4, segment_iterations=2, **plan)
    abort = Abort(reason="failure", retryable=True, message="m", begun_at=1.0, at=2.0)
    run.gang.artifacts.put(keys.GangKeys("run", 1, 0).outcome, abort.model_dump_json().encode())
    progress = {"stage": 0, "replica": 0, "segment": 1, "attempt": 0, "iteration": 2, "loss": None}
    text = str({**progress, "started_at": 1.0, "updated_at": 1.0}).replace("'", '"').replace("None", "null")
    run.gang.artifacts.put(keys.GangKeys("run", 1, 0).progress(0, 0), text.encode())
    return run.train()


@pytest.fixture
def store(run: FixtureRun) -> MemoryStore:
    """A copy of all that the run has left, to be spoilt."""
    copy, left = MemoryStore(), run.gang.artifacts
    for key in left.list("runs/"):
        copy.put(key, left.get(key))
    return copy


def found(store: MemoryStore) -> str:
    return "; ".join(audit(RunRecords(store, "run")).wrong)


def test_a_run_as_promised(store: MemoryStore) -> None:
    account = audit(RunRecords(store, "run"))
    assert account.wrong == ()
    assert (account.commits, account.aborted) == (2, 1)
    assert account.lost == (1,), "its progress says that two were done, of the run, and the third was begun"
    assert account.segment_iterations == (2, 2, 2)


def change(store: MemoryStore, segment: int, attempt: int, **fields: object) -> None:
    key = keys.GangKeys("run", segment, attempt).outcome
    commit = parse_outcome(store.get(key))
    assert isinstance(commit, Commit)
    store.put(key, commit.model_copy(update=fields).model_dump_json().encode())


def add_commit(store: MemoryStore) -> None:
    store.put(keys.GangKeys("run", 0, 1).outcome, store.get(keys.GangKeys("run", 0, 0).outcome))


def take_abort_away(store: MemoryStore) -> None:
    store.delete(keys.GangKeys("run", 1, 0).outcome)


def go_on_from_elsewhere(store: MemoryStore) -> None:
    change(store, 1, 1, base="initial")


def name_other_files(store: MemoryStore) -> None:
    initial = parse_outcome(store.get(keys.commit("run", keys.INITIAL)))
    assert isinstance(initial, Commit)
    change(store, 0, 0, layers=initial.layers)


def take_a_summary_away(store: MemoryStore) -> None:
    store.delete(keys.GangKeys("run", 1, 1).summary(1, 0))


def save_at_another_iteration(store: MemoryStore) -> None:
    key = keys.GangKeys("run", 1, 1).summary(1, 0)
    summary = WorkerSummary.model_validate_json(store.get(key))
    store.put(key, summary.model_copy(update={"end_iteration": 3}).model_dump_json().encode())


def damage_a_file(store: MemoryStore) -> None:
    commit = parse_outcome(store.get(keys.GangKeys("run", 1, 1).outcome))
    assert isinstance(commit, Commit)
    store.put(keys.layer("run", commit.layers[0]), b"half")


SPOILT = {
    add_commit: "attempt 0-1 has an outcome, where 1-0 was to be next",
    take_abort_away: "attempt 1-1 has an outcome, where 1-0 was to be next",
    go_on_from_elsewhere: "goes on from initial, not from 0-0",
    name_other_files: "commit 0-0 names other files than its workers have saved",
    take_a_summary_away: "commit 1-1 counts, and worker (1, 0) has not said that it ended",
    save_at_another_iteration: "commit 1-1 is of 4 iterations, a worker's of 3",
    damage_a_file: "is damaged (SHA-256",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_what_contradicts_the_protocol_is_said(store: MemoryStore, spoil: Callable[[MemoryStore], None]) -> None:
    spoil(store)
    assert SPOILT[spoil] in found(store)
