"""A run of ``examples/chargpt`` by the runtime's own workers, through a bench's storage, with what they took."""

import os
import resource
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.ceiling import MIB
from bench.gather import gather
from bench.manifests import CHARGPT
from bench.storage import Space, Storage
from launch.staging import stage_run
from runtime.manifest import Manifest
from runtime.metrics import IterationDone
from runtime.records import Traffic, WorkerEvent
from runtime.store import Store
from runtime.store_retries import RetryingStore
from runtime.store_wrappers import CountingStore, TrafficCounter
from runtime.worker import Invocation, Worker

LIFE_S = 900.0
RUN = "bench"


@dataclass(frozen=True)
class Spaces:
    """The stores of one run."""

    artifacts: Space
    inboxes: tuple[Space, ...]
    """By stage."""


@dataclass(frozen=True)
class WorkersRun:
    """How one worker fared."""

    ends: list[float]
    """Of its iterations."""
    after: list[Traffic]
    """What had passed by each of them."""
    resident_mib: list[float]
    """The process's memory by each of them."""
    traffic: Traffic

    @property
    def growth_mib(self) -> float:
        """Of the process's memory since the second iteration."""
        return self.resident_mib[-1] - self.resident_mib[1]


def _worker(manifest: Manifest, spaces: Spaces, stage: int) -> WorkersRun:
    """The only replica of a stage, in this process."""
    counter = TrafficCounter()
    after: list[Traffic] = []
    resident: list[float] = []

    def observe(done: IterationDone) -> None:
        after.append(counter.traffic)
        resident.append(_resident_mib())

    def opened(space: Space) -> Store:
        return RetryingStore(CountingStore(space.open(), counter))

    deadline = time.monotonic() + LIFE_S
    worker = Worker(
        Invocation(
            event=WorkerEvent(
                run=RUN, segment=0, attempt=0, stage=stage, replica=0, manifest_sha256=manifest.sha256, commit="initial"
            ),
            manifest=manifest,
            inboxes={number: opened(space) for number, space in enumerate(spaces.inboxes)},
            artifacts=opened(spaces.artifacts),
            source=CHARGPT,
            counter=counter,
            request_id=RUN,
            started_at=time.time(),
            remaining_s=lambda: deadline - time.monotonic(),
            observe=observe,
        )
    )
    summary = worker.run()
    return WorkersRun(summary.iteration_ends, after, resident, summary.traffic)


def _resident_mib() -> float:
    """Of this process; where the system does not tell, the most that there has been."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MIB


def _stage_process(manifest: Manifest, spaces: Spaces, stage: int) -> WorkersRun:
    """Body of a stage's process."""
    torch.set_num_threads(1)
    return _worker(manifest, spaces, stage)


def train(storage: Storage, manifest: Manifest) -> list[WorkersRun]:
    """A run of one replica per stage, from its initial layers to its last commit: by stage.

    Each stage is a process with one thread; a lone one runs in this process, with its threads.

    Raises:
        FuncpipeError: a worker failed.
    """
    with ExitStack() as stack:
        artifacts, *inboxes = (stack.enter_context(storage.space()) for _ in range(1 + len(manifest.stages)))
        stage_run(manifest, CHARGPT, RUN, artifacts.open())
        spaces = Spaces(artifacts, tuple(inboxes))
        if len(inboxes) == 1:
            return [_worker(manifest, spaces, 0)]
        return gather(_stage_process, [(manifest, spaces, stage) for stage in range(len(inboxes))])
