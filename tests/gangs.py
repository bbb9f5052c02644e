"""Runs of the fixture models in local processes, for tests."""

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from launch.local_gang import LocalGang
from launch.resuming import OldRun
from launch.staging import stage_run
from runtime import keys
from runtime.barrier import Place
from runtime.checkpoint import load_weights
from runtime.dataset import load_dataset
from runtime.errors import WorkerFailed
from runtime.handler import handle
from runtime.manifest import Manifest
from runtime.outcome import last_commit
from runtime.records import Abort, Commit, Failure, TimelineEvent, WorkerSummary, parse_outcome
from runtime.source import source_sha256
from runtime.spec import DataSpec
from runtime.store_faults import FaultSpec
from runtime.store_wrappers import LinkSpec
from tests.manifests import make_manifest

SOURCE = Path(__file__).parent / "fixtures" / "source"


class FixtureRun:
    """One run of a model of ``tests/fixtures/source`` under an explicit plan."""

    def __init__(
        self,
        root: Path,
        *,
        source: Path = SOURCE,
        run: str = "run",
        link: LinkSpec | None = None,
        resume: OldRun | None = None,
        faults: FaultSpec | None = None,
        data: str = "tiny:data",
        data_args: Mapping[str, Any] | None = None,
        **plan: Any,
    ) -> None:
        dataset = load_dataset(DataSpec(factory=data, args=dict(data_args or {})), source)
        facts = {
            "dataset_sha256": dataset.sha256,
            "train_samples": dataset.train_samples,
            "test_samples": dataset.test_samples,
        }
        self.manifest: Manifest = make_manifest(
            data=data, data_args=data_args, source_hash=source_sha256(source), **facts, **plan
        )
        self.root, self.run = root, run
        self.gang = LocalGang(self.manifest, source, run, root, link, threads=1, faults=faults)
        self.told: list[str] = []
        """Of damaged commits, by staging."""
        stage_run(self.manifest, source, run, self.gang.artifacts, resume, self.told.append)

    def train(self) -> "FixtureRun":
        """Runs to the end; fails the test, with the reason, when the run does."""
        self.gang.start()
        self.gang.wait()
        assert self.gang.stop_reason is None, self.gang.failure or self.gang.stop_reason
        return self

    def _records(self, kind: str) -> list[bytes]:
        store = self.gang.artifacts
        return [store.get(key) for key in store.list(f"runs/{self.run}/segments/") if f"/{kind}/" in key]

    @property
    def summaries(self) -> list[WorkerSummary]:
        return [WorkerSummary.model_validate_json(data) for data in self._records("summary")]

    @property
    def failures(self) -> list[Failure]:
        return [Failure.model_validate_json(data) for data in self._records("failure")]

    @property
    def outcomes(self) -> list[Commit | Abort]:
        """Of all attempts, and the commit that the run begins with, in order."""
        store = self.gang.artifacts
        found = [parse_outcome(store.get(key)) for key in store.list(keys.outcomes_prefix(self.run))]
        return sorted(found, key=lambda outcome: outcome.at)

    @property
    def outcomes_by_gang(self) -> dict[keys.GangKeys, Commit | Abort]:
        """Of all attempts."""
        store = self.gang.artifacts
        listed = [keys.parse_outcome(self.run, key) for key in store.list(keys.outcomes_prefix(self.run))]
        return {gang: parse_outcome(store.get(gang.outcome)) for gang in listed if gang is not None}

    @property
    def commits(self) -> list[Commit]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Commit)]

    @property
    def timeline(self) -> list[TimelineEvent]:
        return [TimelineEvent.model_validate(item) for data in self._records("timeline") for item in json.loads(data)]

    @property
    def losses(self) -> list[float]:
        """The mean loss of each iteration's global batch."""
        totals = [0.0] * self.manifest.iterations
        for summary in self.summaries:
            for offset, loss in enumerate(summary.losses):
                totals[summary.first_iteration + offset] += loss
        return totals

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return load_weights(self.gang.artifacts, self.run)

    @property
    def inbox_objects(self) -> list[str]:
        """Names of the objects that nobody consumed."""
        return [p.name for p in self.root.glob("inbox-*/**/*") if p.is_file()]


def train_in_threads(run: FixtureRun, timeout_s: float) -> Commit:
    """Segment after segment, as the workflow would, the workers as threads of this process; the last commit."""
    while (commit := last_commit(run.gang.artifacts, run.run)).reason is None or commit.reason.goes_on:
        workers = [threading.Thread(target=work, args=(run, commit, place, timeout_s)) for place in run.manifest.places]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert last_commit(run.gang.artifacts, run.run).number == commit.number + 1, run.failures
    return commit


def work(run: FixtureRun, commit: Commit, place: Place, timeout_s: float, attempt: int = 0) -> None:
    """One worker's segment after ``commit``, in the calling thread."""
    stage, replica = place
    event = {"run": run.run, "segment": commit.number, "attempt": attempt, "stage": stage, "replica": replica}
    event |= {"manifest_sha256": run.manifest.sha256, "commit": commit.name}
    stages = range(len(run.manifest.stages))
    surroundings = {
        "FUNCPIPE_STAGE": str(stage),
        "FUNCPIPE_ARTIFACTS_URL": run.gang.artifacts_url,
        "FUNCPIPE_INBOX_URLS": json.dumps({str(s): (run.root / f"inbox-{s:03d}").as_uri() for s in stages}),
        "FUNCPIPE_SOURCE": str(SOURCE),
        "FUNCPIPE_THREADS": "1",
    }
    ends = time.monotonic() + timeout_s
    with suppress(WorkerFailed):  # it has left its record
        handle(
            event,
            surroundings,
            request_id=f"thread-{stage}-{replica}",
            remaining_s=lambda: ends - time.monotonic(),
            end_process=lambda failure: None,  # the tests' own
        )
