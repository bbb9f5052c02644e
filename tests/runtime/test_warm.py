"""Segments in one process, as in a warm environment, beside segments in fresh ones."""

import gc
import time
import weakref
from pathlib import Path

import pytest
import torch

from launch.staging import stage_run
from runtime.checkpoint import load_weights
from runtime.dataset import load_dataset
from runtime.records import WorkerEvent
from runtime.source import source_sha256
from runtime.spec import DataSpec
from runtime.store_memory import MemoryStore
from runtime.store_wrappers import TrafficCounter
from runtime.warm import Held, Hold, identity
from runtime.worker import Invocation, Worker
from tests.gangs import SOURCE
from tests.manifests import make_manifest

SEGMENTS = 3


class Observed(MemoryStore):
    """Notes which layers' files are read."""

    def __init__(self) -> None:
        super().__init__()
        self.layers_read: list[str] = []

    def get(self, key, *, within_s=None, found=None):
        if "layer" in key:
            self.layers_read.append(key)
        return super().get(key, within_s=within_s, found=found)


def plan(**options):
    dataset = load_dataset(DataSpec(factory="tiny:data", args={}), SOURCE)
    return make_manifest(
        model="tiny:build",
        data="tiny:data",
        layers=[options.pop("layer_count", 8)],
        global_batch_size=16,
        micro_batch_size=4,
        iterations=2 * SEGMENTS,
        segment_iterations=2,
        optimizer={"name": "adam", "lr": 0.01},
        source_hash=source_sha256(SOURCE),
        dataset_sha256=dataset.sha256,
        train_samples=dataset.train_samples,
        test_samples=dataset.test_samples,
        **options,
    )


def train(store, manifest, hold_of, run="run", segments=SEGMENTS):
    """Runs the segments one after the other; returns how many layers' files each of them read."""
    counts = []
    stage_run(manifest, SOURCE, run, store)
    for segment in range(segments):
        store.layers_read.clear()
        commit = f"{segment - 1}-0" if segment else "initial"
        event = WorkerEvent(
            run=run,
            segment=segment,
            attempt=0,
            stage=0,
            replica=0,
            manifest_sha256=manifest.sha256,
            commit=commit,
        )
        Worker(
            Invocation(
                event=event,
                manifest=manifest,
                inboxes={0: MemoryStore()},
                artifacts=store,
                source=Path(SOURCE),
                counter=TrafficCounter(),
                request_id="test",
                started_at=time.time(),
                remaining_s=lambda: 120.0,
                hold=hold_of(segment),
            )
        ).run()
        counts.append(len(store.layers_read))
    return counts


def test_a_warm_environment_reads_no_layer_again_and_computes_the_same_bits():
    manifest, warm, cold, hold = plan(), Observed(), Observed(), Hold()
    assert train(warm, manifest, lambda segment: hold) == [8, 0, 0]
    assert train(cold, manifest, lambda segment: Hold()) == [8, 8, 8]
    expected, found = load_weights(cold, "run"), load_weights(warm, "run")
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_another_run_left_is_replaced_also_the_optimiser_s_state():
    manifest, store, fresh, hold = plan(), Observed(), Observed(), Hold()
    train(store, manifest, lambda segment: hold, run="first")
    counts = train(store, manifest, lambda segment: hold, run="second")
    assert 0 < counts[0] <= 8 and counts[1:] == [0, 0], "layers without weights are the same"
    train(fresh, manifest, lambda segment: Hold(), run="second")
    expected, found = load_weights(fresh, "second"), load_weights(store, "second")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_after_a_failure_nothing_is_held():
    """A layer gives up at its 13th call: in the second segment, as its count goes on in a warm environment."""
    manifest, hold = plan(model_args={"raise_at": 12}), Hold()
    held = []

    def hold_of(segment):
        held.append(hold._held)
        return hold

    with pytest.raises(ValueError, match="gave up"):
        train(Observed(), manifest, hold_of)
    assert [item is not None for item in held] == [False, True]
    assert hold.take(identity(manifest, 0)) is None


def test_what_is_not_the_same_is_let_go():
    hold, layers = Hold(), torch.nn.Sequential(torch.nn.Linear(2, 2))
    gone = weakref.ref(layers)
    hold.keep(Held("one", layers, None))
    del layers
    assert hold.take("another") is None
    gc.collect()
    assert gone() is None and hold.take("one") is None


def test_an_identity_is_that_of_code_settings_and_cuts():
    manifest = plan()
    other = make_manifest(stages=2)
    assert identity(manifest, 0) == identity(plan(), 0)
    assert len({identity(manifest, 0), identity(other, 0), identity(other, 1)}) == 3
