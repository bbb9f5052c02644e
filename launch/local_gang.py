"""A run in plain local processes over a directory store: the workflow's decisions (docs/protocol.md), without AWS.

Each segment is tried by one gang after the other until one commits; the next segment goes on from its commit.
"""

import os
import random
import threading
from pathlib import Path

from launch.local_workers import LocalWorkers, Paths, Surroundings
from launch.status import why_it_ended
from launch.stopping import abort_run
from launch.worker_context import worker_context
from runtime import keys
from runtime.manifest import Manifest
from runtime.outcome import read_outcome
from runtime.records import Abort, Commit, EndReason, Failure
from runtime.store_directory import DirectoryStore
from runtime.store_faults import FaultSpec
from runtime.store_wrappers import LinkSpec

FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0


def back_off_s(attempt: int) -> float:
    """How long to wait before ``attempt`` (from 1): twice as long each time, and a random part of that."""
    return random.uniform(0.5, 1.0) * min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** (attempt - 1))


class LocalGang:
    """One run. ``start``, then ``poll`` until it returns False; then ``failure`` and ``stop_reason`` tell how it ended.

    Args:
        manifest: the plan; ``source`` is its package's folder.
        run: id of a run that ``launch.staging.stage_run`` has put into ``artifacts_url``.
        root: folder of the stores and logs; several runs may share one.
        link: slows every worker's storage down to this link.
        threads: torch threads of each worker; by default the machine's cores are shared evenly.
        faults: makes every worker's storage fail by these rules.
    """

    def __init__(
        self,
        manifest: Manifest,
        source: Path,
        run: str,
        root: Path,
        link: LinkSpec | None = None,
        threads: int | None = None,
        faults: FaultSpec | None = None,
    ) -> None:
        paths = Paths(root.resolve())
        threads = threads or max(1, (os.cpu_count() or 1) // manifest.workers)
        self._surroundings = Surroundings(manifest, source.resolve(), paths, link, threads, faults)
        self._manifest, self._run = manifest, run
        self.artifacts = DirectoryStore(paths.artifacts)
        worker_context()  # its imports take seconds, in which the caller can stage the run
        self._driver = threading.Thread(target=self._drive, name="gang", daemon=True)
        self._workers: LocalWorkers | None = None
        self._stopped = threading.Event()
        self.failure: Failure | None = None
        self.stop_reason: str | None = None
        """Why the run ended early, if it did."""

    @property
    def artifacts_url(self) -> str:
        return self._surroundings.paths.artifacts.as_uri()

    def start(self) -> None:
        """Starts the first segment's workers; returns at once."""
        (self._surroundings.paths.root / "logs").mkdir(parents=True, exist_ok=True)
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
        abort_run(self.artifacts, self._run, self._manifest.segment.attempts, reason)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the present gang's workers, in order of stage and replica."""
        workers = self._workers
        return workers.pids if workers is not None else []

    def workers(self, gang: keys.GangKeys, commit: str) -> LocalWorkers:
        """The processes of one attempt, none of which is started yet."""
        return LocalWorkers(self._surroundings, self.artifacts, gang, commit)

    def _drive(self) -> None:
        gang, commit = keys.GangKeys(self._run, 0, 0), keys.INITIAL
        while True:
            outcome = self._try(gang, commit)
            if isinstance(outcome, Commit):
                if outcome.reason is None or not outcome.reason.goes_on:
                    return self._explain_commit(outcome)
                gang, commit = keys.GangKeys(self._run, gang.segment + 1, 0), outcome.name
            elif outcome.retryable and gang.attempt + 1 < self._manifest.segment.attempts:
                gang = keys.GangKeys(self._run, gang.segment, gang.attempt + 1)
                self._stopped.wait(back_off_s(gang.attempt))
            else:
                self.failure, self.stop_reason = outcome.failure, outcome.message
                return None

    def _try(self, gang: keys.GangKeys, commit: str) -> Commit | Abort:
        # Whoever stops the run between two gangs decides the outcome of the next one.
        if (outcome := read_outcome(self.artifacts, gang)) is not None:
            return outcome
        workers = self.workers(gang, commit)
        self._workers = workers
        workers.start()
        return workers.attend()

    def _explain_commit(self, last: Commit) -> None:
        if last.reason is not EndReason.FINISHED:
            self.stop_reason = why_it_ended(last, self._manifest)
