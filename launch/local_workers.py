"""One attempt at a segment as local processes: all workers at once, forked from a server that has torch imported."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from launch.worker_context import worker_context
from runtime import keys
from runtime.manifest import Manifest
from runtime.outcome import decide, read_outcome
from runtime.records import Abort, Commit, Failure, FailureKind, WorkerEvent
from runtime.spending import STOPPING_S
from runtime.store import KeyNotFound
from runtime.store_directory import DirectoryStore
from runtime.store_faults import FaultSpec
from runtime.store_wrappers import LinkSpec

GRACE_S = STOPPING_S
"""How long workers may take to end after their attempt's outcome before they are ended from outside."""
LOOK_S = 1.0
"""Between looks at the outcome while all workers are at work."""


@dataclass(frozen=True)
class Paths:
    """Where a local run's stores and logs are."""

    root: Path

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def inbox(self, stage: int) -> Path:
        return self.root / f"inbox-{stage:03d}"

    def log(self, event: WorkerEvent) -> Path:
        place = f"{event.segment:05d}-{event.attempt:03d}-{event.stage:03d}-{event.replica:04d}"
        return self.root / "logs" / f"{event.run}-{place}.log"


@dataclass(frozen=True)
class Surroundings:
    """What the workers of a local run have in common."""

    manifest: Manifest
    source: Path
    paths: Paths
    link: LinkSpec | None
    threads: int
    faults: FaultSpec | None = None

    def environment(self, stage: int) -> dict[str, str]:
        """As a stage's function would have it."""
        neighbours = range(max(0, stage - 1), min(len(self.manifest.stages), stage + 2))
        variables = {
            "FUNCPIPE_STAGE": str(stage),
            "FUNCPIPE_ARTIFACTS_URL": self.paths.artifacts.as_uri(),
            "FUNCPIPE_INBOX_URLS": json.dumps({str(s): self.paths.inbox(s).as_uri() for s in neighbours}),
            "FUNCPIPE_SOURCE": str(self.source),
            "FUNCPIPE_THREADS": str(self.threads),
        }
        if self.link is not None:
            variables["FUNCPIPE_LINK"] = self.link.model_dump_json()
        if self.faults is not None:
            variables["FUNCPIPE_FAULTS"] = self.faults.model_dump_json()
        return variables


def _work(event: dict[str, Any], environment: dict[str, str], timeout_s: float, log: str) -> None:
    """Body of a worker process; its output goes to its log, its exit status says whether it ended well."""
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # A terminal's Ctrl-C reaches every process; workers leave it to their owner, who decides the attempt's outcome.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_owner, name="owner", daemon=True).start()
    from runtime.errors import WorkerFailed
    from runtime.handler import handle

    deadline = time.monotonic() + timeout_s
    name = f"local-{os.getpid()}"
    try:
        handle(event, environment, request_id=name, remaining_s=lambda: deadline - time.monotonic())
    except WorkerFailed as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _end_with_owner() -> None:
    """Ends this worker when the process that started the run is gone, however it went."""
    owner = parent_process()
    assert owner is not None, "workers are started by another process"
    owner.join()
    os._exit(1)


class LocalWorkers:
    """The gang of one attempt. ``start``, then ``attend`` until its outcome stands and all processes have ended."""

    def __init__(self, surroundings: Surroundings, artifacts: DirectoryStore, gang: keys.GangKeys, commit: str) -> None:
        self._surroundings, self._artifacts, self.gang, self._commit = surroundings, artifacts, gang, commit
        self._begun_at = time.time()
        self._processes: list[tuple[BaseProcess, WorkerEvent]] = []

    def start(self) -> None:
        """Starts all workers; returns at once."""
        for stage, replica in self._surroundings.manifest.places:
            event = self.event(stage, replica)
            self._processes.append((self.launch(event), event))

    def event(self, stage: int, replica: int) -> WorkerEvent:
        """What starts one worker of the gang."""
        return WorkerEvent(
            run=self.gang.run,
            segment=self.gang.segment,
            attempt=self.gang.attempt,
            stage=stage,
            replica=replica,
            manifest_sha256=self._surroundings.manifest.sha256,
            commit=self._commit,
        )

    @property
    def pids(self) -> list[int]:
        """Process ids, in order of stage and replica."""
        return [process.pid for process, _ in self._processes if process.pid is not None]

    def launch(self, event: WorkerEvent) -> BaseProcess:
        """A process that is invoked with ``event``; it is its caller's to wait for."""
        surroundings = self._surroundings
        environment, timeout_s = surroundings.environment(event.stage), surroundings.manifest.segment.timeout_s
        arguments = (event.model_dump(), environment, timeout_s, str(surroundings.paths.log(event)))
        process: BaseProcess = worker_context().Process(target=_work, args=arguments, daemon=True)
        process.start()
        return process

    def attend(self) -> Commit | Abort:
        """Waits for all workers; when one ends badly, sees to it that all do. The attempt's outcome.

        Workers that go on when there has been an outcome for a while, or beyond their timeout, are killed.
        """
        left: dict[Any, tuple[BaseProcess, WorkerEvent]] = {
            process.sentinel: (process, event) for process, event in self._processes
        }
        decided = False
        give_up = time.monotonic() + self._surroundings.manifest.segment.timeout_s + GRACE_S
        while left and (patience := give_up - time.monotonic()) > 0:
            for sentinel in wait(list(left), timeout=min(LOOK_S, patience)):
                process, event = left.pop(sentinel)
                process.join()
                if process.exitcode != 0:
                    self._bury(process, event)
            if not decided and read_outcome(self._artifacts, self.gang) is not None:
                decided, give_up = True, min(give_up, time.monotonic() + GRACE_S)
        for process, _ in left.values():
            process.kill()
            process.join()
        late = "the functions' timeout has passed" if left else "all workers have ended, and none has committed"
        return self.abort("failure", late, retryable=True)

    def abort(self, reason: str, message: str, *, retryable: bool, failure: Failure | None = None) -> Commit | Abort:
        """Aborts the attempt if it has no outcome yet; returns the outcome that stands."""
        wanted = Abort(
            reason=reason,  # type: ignore[arg-type]
            retryable=retryable,
            message=message,
            failure=failure,
            begun_at=self._begun_at,
            at=time.time(),
        )
        return decide(self._artifacts, self.gang, wanted)

    def _bury(self, process: BaseProcess, event: WorkerEvent) -> None:
        """Leaves a record for a worker that could not leave one itself."""
        record = self.gang.failure(event.stage, event.replica)
        try:
            self._artifacts.get(record)
        except KeyNotFound:
            code = process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            log = self._surroundings.paths.log(event)
            failure = Failure(
                event=event,
                kind=FailureKind.DIED,
                error=f"the worker's process ended by {how} without a word; its log: {log}",
                at=time.time(),
            )
            self._artifacts.put(record, failure.model_dump_json().encode())
            message = f"stage {event.stage}, replica {event.replica}, segment {event.segment}: {failure.error}"
            self.abort("failure", message, retryable=failure.kind.retryable, failure=failure)
