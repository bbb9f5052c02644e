"""What a worker asks of its surroundings; what it computes is compared with plain torch in tests/parity."""

import gc
import threading
import time
import tracemalloc
from pathlib import Path

import torch

import runtime.worker
from launch.staging import stage_run
from runtime.dataset import load_dataset
from runtime.mailbox import Mailbox
from runtime.metrics import IterationDone
from runtime.records import WorkerEvent
from runtime.source import source_sha256
from runtime.spec import DataSpec
from runtime.store_directory import DirectoryStore
from runtime.store_memory import MemoryStore
from runtime.store_wrappers import TrafficCounter
from runtime.warm import Hold
from runtime.worker import Invocation, Worker
from tests.gangs import SOURCE
from tests.manifests import make_manifest


def test_who_waits_gives_up_before_lambda_ends_the_function(tmp_path: Path, monkeypatch) -> None:
    """Peers of a hung worker must leave word of what they waited for: they have the same time-out as that one."""
    deadlines: list[float] = []

    class Observed(Mailbox):
        def __init__(self, *, deadline: float, **others) -> None:
            deadlines.append(deadline)
            super().__init__(deadline=deadline, **others)

    monkeypatch.setattr(runtime.worker, "Mailbox", Observed)
    manifest, store = make_manifest(timeout_s=900), DirectoryStore(tmp_path)
    event = WorkerEvent(
        run="r", segment=0, attempt=0, stage=1, replica=0, manifest_sha256=manifest.sha256, commit="initial"
    )
    worker = Worker(
        Invocation(
            event=event,
            manifest=manifest,
            inboxes={0: store, 1: store},
            artifacts=store,
            source=tmp_path,
            counter=TrafficCounter(),
            request_id="test",
            started_at=0.0,
            remaining_s=lambda: 900.0,
        )
    )
    made = time.monotonic()
    worker.lanes.close()
    (deadline,) = deadlines
    assert made + 800 < deadline < made + 900 - 10


def test_iterations_leave_nothing_behind() -> None:
    """After the second iteration no more tensors live, and Python holds no more memory; no thread and no object."""
    dataset = load_dataset(DataSpec(factory="tiny:data", args={}), SOURCE)
    manifest = make_manifest(
        model="tiny:build",
        data="tiny:data",
        layers=[8],
        global_batch_size=16,
        micro_batch_size=4,
        iterations=40,
        optimizer={"name": "adam", "lr": 0.01},
        source_hash=source_sha256(SOURCE),
        dataset_sha256=dataset.sha256,
        train_samples=dataset.train_samples,
        test_samples=dataset.test_samples,
    )
    artifacts, inbox = MemoryStore(), MemoryStore()
    stage_run(manifest, SOURCE, "r", artifacts)
    event = WorkerEvent(
        run="r", segment=0, attempt=0, stage=0, replica=0, manifest_sha256=manifest.sha256, commit="initial"
    )
    tensors: list[int] = []
    traced: list[int] = []

    def observe(done: IterationDone) -> None:
        if done.iteration in (1, 35):
            gc.collect()
            traced.append(tracemalloc.get_traced_memory()[0])
            tensors.append(sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects()))

    worker = Worker(
        Invocation(
            event=event,
            manifest=manifest,
            inboxes={0: inbox},
            artifacts=artifacts,
            source=SOURCE,
            counter=TrafficCounter(),
            request_id="test",
            started_at=time.time(),
            remaining_s=lambda: 900.0,
            observe=observe,
            hold=Hold(),
        )
    )
    threads = threading.active_count()
    tracemalloc.start()
    try:
        worker.run()
    finally:
        tracemalloc.stop()
    after_two, late = tensors
    assert late == after_two
    assert traced[1] - traced[0] < 256 * 1024, "timeline events, 34 iterations of 13"
    assert threading.active_count() == threads
    assert list(inbox.list("")) == []
