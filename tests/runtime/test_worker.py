"""What a worker asks of its surroundings; what it computes is compared with plain torch in tests/parity."""

import time
from pathlib import Path

import runtime.worker
from runtime.mailbox import Mailbox
from runtime.records import WorkerEvent
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import TrafficCounter
from runtime.worker import Invocation, Worker
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
