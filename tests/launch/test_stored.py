"""What a run has had in its artifact bucket: of a run written by hand, and of layers that a sweep has deleted."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from launch.bill import bill_by_records, bill_by_reports
from launch.billed import Invocation
from launch.resuming import OldRun
from launch.run_records import RunRecords
from launch.stored import Stored, stored
from planner.bills import run_bill
from planner.platforms import PLATFORMS
from planner.pricing import BYTES_PER_GB, SECONDS_PER_MONTH
from runtime import keys
from runtime.checkpoint import save_layers
from runtime.closing import DELETED_KEPT_S, sweep
from runtime.records import Commit, EndReason, Traffic, WorkerSummary
from runtime.store import Store
from runtime.store_directory import DirectoryStore
from runtime.store_memory import MemoryStore
from tests.gangs import FixtureRun
from tests.launch.hand_written import RUN, event, put_manifest
from tests.manifests import make_manifest
from tests.planner.test_bills import make_forecast

BEGIN = 1000.0
DIGEST = "d" * 64


def put(store: DirectoryStore, key: str, size: int, at: float) -> None:
    store.put(key, bytes(size))
    os.utime(store.root / key, (at, at))


def a_commit(number: int, layers: list[str], layer_bytes: list[int] | None = None) -> Commit:
    return Commit(
        number=number,
        base=None if number == 0 else f"{number - 2}-0" if number > 1 else keys.INITIAL,
        iteration=2 * number,
        layers=layers,
        layer_bytes=layer_bytes,
        reason=None if number == 0 else EndReason.FINISHED if number == 3 else EndReason.TIME,
        billed_s=0.0,
        spent_usd=0.0,
        at=BEGIN + 10 * number,
    )


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """Two layers on one stage; segments end at 1010, 1020 and 1030, the last with a checkpoint of the first layer only.

         bytes   1000    1010    1020    1030
    data    70     ├───────────────────────┤      was there before the run
    initial 20, 8  ├───────────────────────┤      gone since, but old versions
    0       30, 9          ├───────────────┤      likewise
    1       30, 9                  ├───────┤
    2       30                             ┤
    """
    store = DirectoryStore(tmp_path)
    manifest = make_manifest(layers=[2], replicas=[1], segment_iterations=2, train_samples=192)
    put_manifest(store, manifest)
    os.utime(store.root / keys.manifest(RUN), (BEGIN, BEGIN))
    put(store, keys.data_shard(manifest.dataset.sha256, "train", "input", 0), 70, BEGIN - 500)
    names = [[f"{keys.INITIAL}/{letter * 64}" for letter in "ab"]]
    for segment, letters in enumerate(("cd", "ef", "9f")):
        names.append([f"{segment - (letter == 'f' and segment == 2):05d}/{letter * 64}" for letter in letters])
    for number, layers in enumerate(names):
        end = BEGIN + 10 * number
        commit = a_commit(number, layers, None if number else [20, 8])
        store.put(keys.commit(RUN, commit.name), commit.model_dump_json().encode())
        os.utime(store.root / keys.commit(RUN, commit.name), (BEGIN + 30, BEGIN + 30))
        if number == 0:
            continue
        summary = WorkerSummary(
            event=event(manifest, 0, 0, number - 1),
            started_at=end - 10,
            ended_at=end,
            first_iteration=2 * number - 2,
            end_iteration=2 * number,
            iteration_ends=[end - 5, end - 2],
            checkpoint_s=2.0,
            losses=[1.0, 1.0],
            peak_memory_mb=1.0,
            traffic=Traffic(puts=3, gets=5, empty_gets=2),
            request_id="r",
            checkpoint=dict(zip("01", layers, strict=True)),
        )
        key = keys.GangKeys(RUN, number - 1, 0).summary(0, 0)
        store.put(key, summary.model_dump_json().encode())
        os.utime(store.root / key, (BEGIN + 30, BEGIN + 30))
    put(store, keys.layer(RUN, names[2][0]), 30, BEGIN + 20)
    put(store, keys.layer(RUN, names[2][1]), 9, BEGIN + 20)
    put(store, keys.layer(RUN, names[3][0]), 30, BEGIN + 30)
    return store


def records_in(store: Store) -> RunRecords:
    records = RunRecords(store, RUN)
    records.refresh()
    return records


def test_bytes_times_seconds_of_what_is_there_and_of_what_is_gone(store: DirectoryStore) -> None:
    own_manifest = len(store.get(keys.manifest(RUN)))
    by_hand = (70 + own_manifest + 28) * 30 + 39 * 20 + 39 * 10
    assert stored(records_in(store)) == Stored(pytest.approx(by_hand), 28 + 39)


def test_it_is_an_item_of_the_bill(store: DirectoryStore) -> None:
    bill, basis = bill_by_records(records_in(store), 5000.0)
    lines = {line.item: line for line in bill.lines}
    held = stored(records_in(store))
    gb_months = held.byte_s / BYTES_PER_GB / SECONDS_PER_MONTH
    assert lines["S3 storage"].quantity == pytest.approx(gb_months)
    assert lines["S3 storage"].unit_usd == 0.023
    deleted = held.deleted_bytes * DELETED_KEPT_S / BYTES_PER_GB / SECONDS_PER_MONTH
    assert lines["S3 storage, deleted checkpoints"].quantity == pytest.approx(deleted)
    assert "for another 3 days the old versions of what it deleted" in basis


def test_the_bill_after_a_run_has_the_items_of_the_bill_before_it(store: DirectoryStore) -> None:
    before = run_bill(make_forecast(PLATFORMS["aws-lambda"]), 100, 5, checkpoints_kept=2)
    cold = Invocation(0, "a", 1.0, 20.0, 1024, 100, 5.0)
    after, _ = bill_by_reports(records_in(store), [cold], log_bytes=1)
    assert [(line.item, line.unit) for line in after.lines] == [(line.item, line.unit) for line in before.lines]


def test_a_run_that_is_being_staged_has_nothing_yet(store: DirectoryStore) -> None:
    for key in list(store.list(keys.outcomes_prefix(RUN))):
        store.delete(key)
    assert stored(records_in(store)) == Stored(0.0, 0)


def test_what_a_sweep_has_deleted_is_told_as_it_was() -> None:
    """Layers that an optimiser with state has trained, saved after each of three steps as workers save them."""
    artifacts, manifest = MemoryStore(), make_manifest(layers=[4], replicas=[1])
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    optimizer = torch.optim.Adam(model.parameters())
    put_manifest(artifacts, manifest)
    newest = put_commit(artifacts, 0, save_layers(artifacts, RUN, keys.INITIAL, model, 0, None))
    for number in (1, 2, 3):
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
        files = save_layers(artifacts, RUN, f"{number - 1:05d}", model, 0, optimizer, before=newest.layers)
        newest = put_commit(artifacts, number, files)
    sizes = {held.key: held.bytes for held in artifacts.held(keys.layers_prefix(RUN))}
    sweep(artifacts, RUN, newest, 1)
    left = set(artifacts.list(keys.layers_prefix(RUN)))
    assert len(left) == 4 and len(sizes) == 4 + 3 * 3, "of a ReLU there is one file"
    gone = sum(size for key, size in sizes.items() if key not in left)
    assert stored(records_in(artifacts)).deleted_bytes == gone > 0


def test_staging_tells_how_large_the_initial_files_are(tmp_path: Path) -> None:
    plan = {"model": "tiny:build", "layers": [5, 3], "replicas": [1, 1]}
    first = FixtureRun(tmp_path / "first", **plan)
    again = FixtureRun(tmp_path / "again", resume=OldRun("run", first.gang.artifacts), **plan)
    for run in (first, again):
        (initial,) = run.commits
        sizes = [len(run.gang.artifacts.get(keys.layer("run", name))) for name in initial.layers]
        assert initial.layer_bytes == sizes and len(sizes) == 8


def put_commit(store: Store, number: int, files: dict[int, str]) -> Commit:
    sizes = {held.key: held.bytes for held in store.held(keys.layers_prefix(RUN))}
    names = [files[index] for index in range(len(files))]
    commit = a_commit(number, names, None if number else [sizes[keys.layer(RUN, name)] for name in names])
    store.put(keys.commit(RUN, commit.name), commit.model_dump_json().encode())
    return commit
