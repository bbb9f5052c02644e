"""A run in plain local processes over a directory store: the handler of Lambda, without Lambda.

Workers are forked from a server process that has imported torch once, so that a gang starts in a fraction of a second.
Each segment is one gang; the next begins when all of its workers have ended well.
"""

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
from runtime.records import Abort, Failure, WorkerEvent
from runtime.store import KeyNotFound
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import LinkSpec

GRACE_S = 20.0
"""How long workers may take to notice the abort marker before they are ended."""


@dataclass(frozen=True)
class _Paths:
    root: Path

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def inbox(self, stage: int) -> Path:
        return self.root / f"inbox-{stage:03d}"

    def log(self, event: WorkerEvent) -> Path:
        return self.root / "logs" / f"{event.run}-{event.segment:05d}-{event.stage:03d}-{event.replica:04d}.log"


def _work(event: dict[str, Any], environment: dict[str, str], timeout_s: float, log: str) -> None:
    """Body of a worker process; its output goes to its log, its exit status says whether it ended well."""
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # A terminal's Ctrl-C reaches every process; workers leave it to their owner, who tells them by the abort marker.
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


class LocalGang:
    """One run. ``start``, then ``poll`` until it returns False; ``failure`` then says why it ended early, if it did.

    Args:
        manifest: the plan; ``source`` is its package's folder.
        run: id of a run that ``launch.staging.stage_run`` has put into ``artifacts_url``.
        root: folder of the stores and logs; several runs may share one.
        link: slows every worker's storage down to this link.
        threads: torch threads of each worker; by default the machine's cores are shared evenly.
    """

    def __init__(
        self,
        manifest: Manifest,
        source: Path,
        run: str,
        root: Path,
        link: LinkSpec | None = None,
        threads: int | None = None,
    ) -> None:
        self._manifest, self._source, self._run, self._link = manifest, source.resolve(), run, link
        self._paths = _Paths(root.resolve())
        self._threads = threads or max(1, (os.cpu_count() or 1) // manifest.workers)
        self.artifacts = DirectoryStore(self._paths.artifacts)
        self._context = worker_context()  # its imports take seconds, in which the caller can stage the run
        self._driver = threading.Thread(target=self._drive, name="gang", daemon=True)
        self._processes: list[BaseProcess] = []
        self._segment = 0
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.failure: Failure | None = None
        self.stop_reason: str | None = None
        """Why the run ended early, when it was stopped and no worker failed."""

    @property
    def artifacts_url(self) -> str:
        return self._paths.artifacts.as_uri()

    def start(self) -> None:
        """Starts the first segment's workers; returns at once."""
        (self._paths.root / "logs").mkdir(parents=True, exist_ok=True)
        self._driver.start()

    def poll(self) -> bool:
        """Whether the run is still going."""
        return self._driver.is_alive()

    def wait(self) -> None:
        """Returns when the run has ended."""
        self._driver.join()

    def stop(self, reason: str) -> None:
        """Makes the workers stop at their next look at the store; ``poll`` turns False when all have ended."""
        self._stopped.set()
        self._abort(Abort(reason="stopped", message=reason, at=time.time()))

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the present segment's workers, in order of stage and replica."""
        with self._lock:
            return [process.pid for process in self._processes if process.pid is not None]

    def _abort(self, abort: Abort) -> None:
        marker = keys.GangKeys(self._run, self._segment, 0).abort
        self.artifacts.put(marker, abort.model_dump_json().encode(), if_absent=True)

    def _drive(self) -> None:
        for segment in range(self._manifest.segments):
            self._segment = segment
            if self._stopped.is_set() or not self._run_segment(segment):
                break
        self._explain()

    def _run_segment(self, segment: int) -> bool:
        gang: dict[Any, tuple[BaseProcess, WorkerEvent]] = {}
        with self._lock:
            self._processes = []
        for index, stage in enumerate(self._manifest.stages):
            for replica in range(stage.replicas):
                event = WorkerEvent(
                    run=self._run,
                    segment=segment,
                    attempt=0,
                    stage=index,
                    replica=replica,
                    manifest_sha256=self._manifest.sha256,
                )
                process = self._launch(event)
                gang[process.sentinel] = (process, event)
                with self._lock:
                    self._processes.append(process)
        return self._attend(gang)

    def _launch(self, event: WorkerEvent) -> BaseProcess:
        neighbours = range(max(0, event.stage - 1), min(len(self._manifest.stages), event.stage + 2))
        environment = {
            "FUNCPIPE_STAGE": str(event.stage),
            "FUNCPIPE_ARTIFACTS_URL": self.artifacts_url,
            "FUNCPIPE_INBOX_URLS": json.dumps({str(s): self._paths.inbox(s).as_uri() for s in neighbours}),
            "FUNCPIPE_SOURCE": str(self._source),
            "FUNCPIPE_THREADS": str(self._threads),
        }
        if self._link is not None:
            environment["FUNCPIPE_LINK"] = self._link.model_dump_json()
        timeout_s = self._manifest.segment.timeout_s
        arguments = (event.model_dump(), environment, timeout_s, str(self._paths.log(event)))
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        return process

    def _attend(self, gang: dict[Any, tuple[BaseProcess, WorkerEvent]]) -> bool:
        """Waits for all workers; when one ends badly, sees to it that all do. Whether all ended well."""
        well, give_up = True, time.monotonic() + self._manifest.segment.timeout_s + GRACE_S
        while gang:
            ready = wait(list(gang), timeout=max(0.0, give_up - time.monotonic()))
            for sentinel in ready:
                process, event = gang.pop(sentinel)
                process.join()
                if process.exitcode != 0:
                    self._bury(process, event)
            if (not well or self._stopped.is_set()) and not ready:
                break
            if well and (self._stopped.is_set() or self._has_aborted() or not ready):
                well = False
                if not ready:
                    self._abort(Abort(reason="stopped", message="the functions' timeout has passed", at=time.time()))
                give_up = time.monotonic() + GRACE_S
        for process, _ in gang.values():
            process.kill()
            process.join()
        return well

    def _has_aborted(self) -> bool:
        try:
            self.artifacts.get(keys.GangKeys(self._run, self._segment, 0).abort)
        except KeyNotFound:
            return False
        return True

    def _bury(self, process: BaseProcess, event: WorkerEvent) -> None:
        """Leaves a record for a worker that could not leave one itself."""
        gang = keys.GangKeys(event.run, event.segment, event.attempt)
        try:
            self.artifacts.get(gang.failure(event.stage, event.replica))
        except KeyNotFound:
            code = process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            failure = Failure(
                event=event,
                kind="died",
                iteration=None,
                instruction=None,
                error=f"the worker's process ended by {how} without a word; its log: {self._paths.log(event)}",
                traceback="",
                at=time.time(),
            )
            body = failure.model_dump_json().encode()
            self.artifacts.put(gang.failure(event.stage, event.replica), body)
            message = f"stage {event.stage}, replica {event.replica}, segment {event.segment}: {failure.error}"
            self._abort(Abort(reason="failure", message=message, failure=failure, at=failure.at))

    def _explain(self) -> None:
        try:
            data = self.artifacts.get(keys.GangKeys(self._run, self._segment, 0).abort)
        except KeyNotFound:
            return
        abort = Abort.model_validate_json(data)
        self.failure, self.stop_reason = abort.failure, abort.message
