"""Workers that nobody counts on any more, and what they still do: events delivered twice, or late, and late writes."""

import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from runtime import keys
from runtime.checkpoint import save_layers
from runtime.codec import encode
from runtime.outcome import decide, read_commit, read_outcome
from runtime.records import Abort, Commit, End, EndReason, Go, Ready, Traffic, WorkerSummary
from runtime.store_directory import DirectoryStore
from tests.gangs import FixtureRun

LOOK_S = 0.01


class SecondDelivery:
    """Invokes one worker of the run's first attempt a second time, at once or when that attempt has been aborted.

    In the second case it also writes all that a worker of that gang could still write, under the names that it would
    use, and asks for the commit. ``finish`` tells how many writes that were.
    """

    def __init__(self, run: FixtureRun, place: tuple[int, int], *, late: bool) -> None:
        self._run, self._place, self._late = run, place, late
        self._gang = keys.GangKeys(run.run, 0, 0)
        self._process: BaseProcess | None = None
        self.delivered, self.writes = False, 0
        self._thread = threading.Thread(target=self._deliver, name="second delivery", daemon=True)

    def start(self) -> None:
        """To be called when the run has been started."""
        self._thread.start()

    def finish(self) -> int:
        """Waits for it when the run has ended."""
        self._thread.join()
        if self._process is not None:
            self._process.join()
        return self.writes

    def _deliver(self) -> None:
        while self._late and not isinstance(read_outcome(self._run.gang.artifacts, self._gang), Abort):
            if not self._run.gang.poll():
                return
            time.sleep(LOOK_S)
        workers = self._run.gang.workers(self._gang, keys.INITIAL)
        self._process = workers.launch(workers.event(*self._place))
        self.delivered = True
        if self._late:
            self._write()

    def _write(self) -> None:
        """A state that no other worker has, as that of a gang that went on with other gradients would be."""
        store, run, gang = self._run.gang.artifacts, self._run.run, self._gang
        base = read_commit(store, run, keys.INITIAL)
        layers = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in base.layers))
        files = save_layers(store, run, gang.generation, layers, 0, None)
        self.writes += len(files)
        summary = WorkerSummary(
            event=self._run.gang.workers(gang, keys.INITIAL).event(*self._place),
            started_at=time.time(),
            ended_at=time.time(),
            first_iteration=0,
            end_iteration=1,
            iteration_ends=[time.time()],
            losses=[],
            peak_memory_mb=1.0,
            traffic=Traffic(),
            request_id="zombie",
            checkpoint={str(index): file for index, file in files.items()},
        )
        records = {
            gang.go: Go(remaining_s=60.0),
            gang.end: End(iteration=1, reason=EndReason.TIME),
            gang.ready(*self._place): Ready(at=time.time(), remaining_s=60.0, billed_s=0.0),
            gang.summary(*self._place): summary,
        }
        for key, record in records.items():
            store.put(key, record.model_dump_json().encode())
            self.writes += 1
        for stage in range(len(self._run.manifest.stages)):
            inbox = DirectoryStore(Path(self._run.root, f"inbox-{stage:03d}"))
            for name in (gang.activation(0, 0), gang.gradient(0, 0), gang.split(0, 0, 0, 1), gang.merged(0, 0, 0)):
                inbox.put(name, encode({"x": torch.full((4, 8), 1e6)}))
                self.writes += 1
        zombies = Commit(
            number=1,
            base=keys.INITIAL,
            iteration=1,
            layers=list(files.values()),
            reason=EndReason.TIME,
            billed_s=0.0,
            spent_usd=0.0,
            at=time.time(),
        )
        decide(store, gang, zombies)
        self.writes += 1
