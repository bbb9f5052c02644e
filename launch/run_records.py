"""Everything that the workers of a run have left in its artifact store, read little by little.

Summaries, failures and outcomes never change once written, so each is fetched once; progress is fetched anew on every
``refresh``. A segment is not listed again once it is committed and all its workers have finished.
"""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from runtime.documents import describe_errors
from runtime.errors import FuncpipeError, UserInputError
from runtime.keys import (
    INITIAL,
    RecordKind,
    commit,
    outcomes_prefix,
    parse_gang,
    parse_outcome,
    parse_record,
    segment_prefix,
)
from runtime.keys import manifest as manifest_key
from runtime.manifest import Manifest, parse_manifest
from runtime.records import Abort, Commit, Failure, Progress, WorkerSummary
from runtime.records import parse_outcome as read_outcome
from runtime.spec import Strict
from runtime.store import Data, KeyNotFound, Store

Record = TypeVar("Record", bound=Strict)
Parsed = TypeVar("Parsed")

Gang = tuple[int, int]
"""(segment, attempt)"""
Worker = tuple[int, int, int, int]
"""(segment, attempt, stage, replica)"""


class RunRecords:
    """The records of run ``run`` in ``store``, as of the last ``refresh``."""

    def __init__(self, store: Store, run: str) -> None:
        """Raises UserInputError when the store holds no such run."""
        self.store = store
        self.run = run
        try:
            text = store.get(manifest_key(run))
        except KeyNotFound:
            raise UserInputError(
                f"run {run!r} has no manifest in its artifact store, so it was never started or has been deleted."
            ) from None
        self.manifest: Manifest = parse_manifest(text, manifest_key(run))
        self.commits: dict[int, Commit] = {}
        self.gangs: set[Gang] = set()
        self.progress: dict[Worker, Progress] = {}
        self.summaries: dict[Worker, WorkerSummary] = {}
        self.failures: dict[Worker, Failure] = {}
        self.aborts: dict[Gang, Abort] = {}
        self._complete: set[int] = set()

    @property
    def last_commit(self) -> Commit | None:
        """The newest complete checkpoint; None while the run is being staged."""
        return self.commits[max(self.commits)] if self.commits else None

    @property
    def committed_iteration(self) -> int:
        """Iterations whose result is saved."""
        return self.last_commit.iteration if self.last_commit else 0

    @property
    def segment(self) -> int:
        """The segment under way, or the last one when the run has ended."""
        last = self.last_commit
        if last is None:
            return 0
        return last.number if last.reason is None or last.reason.goes_on else last.number - 1

    @property
    def attempt(self) -> int:
        """The newest attempt at ``segment``."""
        return max((attempt for segment, attempt in self.gangs if segment == self.segment), default=0)

    def refresh(self) -> None:
        """Reads what is new. Raises FuncpipeError when a record cannot be understood."""
        self._refresh_outcomes()
        for segment in range(self.segment + 1):
            if segment not in self._complete:
                self._refresh_segment(segment)

    def _refresh_segment(self, segment: int) -> None:
        keys = list(self.store.list(segment_prefix(self.run, segment)))
        found = {key: record for key in keys if (record := parse_record(self.run, key))}
        self.gangs |= {(gang.segment, gang.attempt) for key in keys if (gang := parse_gang(self.run, key))}
        # Summaries and failures first: a worker that has either needs no progress any more.
        order = [RecordKind.SUMMARY, RecordKind.FAILURE, RecordKind.PROGRESS]
        for key, record in sorted(found.items(), key=lambda item: order.index(item[1].kind)):
            worker = (record.segment, record.attempt, record.stage, record.replica)
            match record.kind:
                case RecordKind.SUMMARY:
                    self._read_once(key, worker, WorkerSummary, self.summaries)
                case RecordKind.FAILURE:
                    self._read_once(key, worker, Failure, self.failures)
                case RecordKind.PROGRESS if worker not in self.summaries:
                    ended = worker in self.failures or record.attempt < self.attempt
                    if not (ended and worker in self.progress) and (progress := self._read(key, Progress)):
                        self.progress[worker] = progress
        if ended := self.commits.get(segment + 1):
            committed = (segment, ended.attempt)
            if sum(worker[:2] == committed for worker in self.summaries) == self.manifest.workers:
                self._complete.add(segment)

    def _refresh_outcomes(self) -> None:
        if 0 not in self.commits and (initial := self._read(commit(self.run, INITIAL), Commit)):
            self.commits[0] = initial
        decided = {(number - 1, found.attempt) for number, found in self.commits.items()} | set(self.aborts)
        for key in self.store.list(outcomes_prefix(self.run)):
            found = parse_outcome(self.run, key)
            if found is None or (gang := (found.segment, found.attempt)) in decided:
                continue
            self.gangs.add(gang)
            outcome = self._parsed(key, read_outcome)
            if isinstance(outcome, Commit):
                self.commits[outcome.number] = outcome
            elif outcome is not None:
                self.aborts[gang] = outcome

    def _read_once(self, key: str, name: tuple[int, ...], model: type[Record], into: dict) -> None:
        if name not in into and (record := self._read(key, model)):
            into[name] = record

    def _read(self, key: str, model: type[Record]) -> Record | None:
        return self._parsed(key, model.model_validate_json)

    def _parsed(self, key: str, parse: Callable[[Data], Parsed]) -> Parsed | None:
        try:
            return parse(self.store.get(key))
        except KeyNotFound:  # deleted between listing and reading
            return None
        except ValidationError as error:
            raise FuncpipeError(
                f"{describe_errors(error, key)}\nThe record is damaged, or was written by another version of funcpipe."
            ) from None
