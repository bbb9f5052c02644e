"""A run of an example by the runtime's own workers, through a bench's storage, with what they took."""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.ceiling import MIB, total
from bench.gather import gather
from bench.manifests import CHARGPT
from bench.storage import Space, Storage
from launch.staging import stage_run
from runtime.manifest import Manifest
from runtime.metrics import IterationDone
from runtime.records import TimelineEvent, Traffic, WorkerEvent
from runtime.store import Store
from runtime.store_retries import RetryingStore
from runtime.store_wrappers import CountingStore, Link, LinkSpec, ThrottledStore, TrafficCounter
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
    busy_s: list[float]
    """Processor time of the process by each of them."""
    traffic: Traffic
    inbox: Traffic
    """Of it, what concerns objects of the gang; the rest is start, end, and looks for the attempt's outcome."""
    peak_mib: float
    """As the worker's summary says."""
    events: list[TimelineEvent]

    @property
    def early_mib(self) -> float:
        """Memory in the first third of the iterations from the second on: the median, as allocators give some back
        now and then."""
        return statistics.median(self.resident_mib[1 : 1 + self._third])

    @property
    def late_mib(self) -> float:
        """The same in the last third."""
        return statistics.median(self.resident_mib[-self._third :])

    @property
    def _third(self) -> int:
        return max(1, (len(self.resident_mib) - 1) // 3)


@dataclass(frozen=True)
class Surroundings:
    """What all workers of a run have in common; ``link`` and ``in_sequence`` as in ``runtime``."""

    manifest: Manifest
    spaces: Spaces
    link: LinkSpec | None
    in_sequence: bool
    source: Path


def _worker(surroundings: Surroundings, stage: int, replica: int) -> WorkersRun:
    """One worker, in this process."""
    manifest, spaces = surroundings.manifest, surroundings.spaces
    counter, inbox_counter = TrafficCounter(), TrafficCounter()
    link = None if surroundings.link is None else Link(surroundings.link)
    after: list[Traffic] = []
    resident: list[float] = []
    busy_s: list[float] = []

    def observe(done: IterationDone) -> None:
        after.append(counter.traffic)
        busy_s.append(time.process_time())
        resident.append(_resident_mib())

    def counted(space: Space) -> Store:
        store = space.open()
        return CountingStore(store if link is None else ThrottledStore(store, link), counter)

    artifacts = RetryingStore(counted(spaces.artifacts))
    inboxes = [RetryingStore(CountingStore(counted(space), inbox_counter)) for space in spaces.inboxes]
    deadline = time.monotonic() + LIFE_S
    worker = Worker(
        Invocation(
            event=WorkerEvent(
                run=RUN,
                segment=0,
                attempt=0,
                stage=stage,
                replica=replica,
                manifest_sha256=manifest.sha256,
                commit="initial",
            ),
            manifest=manifest,
            inboxes=dict(enumerate(inboxes)),
            artifacts=artifacts,
            source=surroundings.source,
            counter=counter,
            request_id=RUN,
            started_at=time.time(),
            remaining_s=lambda: deadline - time.monotonic(),
            observe=observe,
            in_sequence=surroundings.in_sequence,
        )
    )
    summary = worker.run()
    timeline = json.loads(spaces.artifacts.open().get(worker.gang.timeline(stage, replica)))
    events = [TimelineEvent.model_validate(event) for event in timeline]
    return WorkersRun(
        summary.iteration_ends,
        after,
        resident,
        busy_s,
        summary.traffic,
        inbox_counter.traffic,
        summary.peak_memory_mb,
        events,
    )


def _resident_mib() -> float:
    """Of this process; where the system does not tell, the most that there has been."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MIB


def _process(surroundings: Surroundings, stage: int, replica: int) -> WorkersRun:
    """Body of a worker's process."""
    torch.set_num_threads(1)
    return _worker(surroundings, stage, replica)


def train(
    storage: Storage,
    manifest: Manifest,
    link: LinkSpec | None = None,
    *,
    in_sequence: bool = False,
    source: Path = CHARGPT,
) -> list[WorkersRun]:
    """A run from its initial layers to its last commit: by worker, as ``manifest.places``.

    Each worker is a process with one thread and a ``link`` of its own; a lone one runs in this process, with its
    threads. With ``in_sequence``, nothing that a worker does overlaps (``runtime.lanes.Lanes``). ``source`` is the
    folder of the manifest's factories.

    Raises:
        FuncpipeError: a worker failed.
    """
    with ExitStack() as stack:
        artifacts, *inboxes = (stack.enter_context(storage.space()) for _ in range(1 + len(manifest.stages)))
        stage_run(manifest, source, RUN, artifacts.open())
        surroundings = Surroundings(manifest, Spaces(artifacts, tuple(inboxes)), link, in_sequence, source)
        if manifest.workers == 1:
            return [_worker(surroundings, 0, 0)]
        return gather(_process, [(surroundings, *place) for place in manifest.places])


def gets_per_object(workers: Sequence[WorkersRun]) -> tuple[float, float]:
    """GETs of the gang's objects per one received; and all other GETs of the run, such as looks for the outcome."""
    inboxes, whole = total(worker.inbox for worker in workers), total(worker.traffic for worker in workers)
    received = inboxes.gets - inboxes.empty_gets
    return inboxes.gets / received, (whole.gets - inboxes.gets) / received
