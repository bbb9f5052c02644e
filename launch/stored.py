"""What a run has had in its artifact bucket, in bytes and for how long, from its records and from what is still there.

That bucket keeps versions that were deleted (``infra.artifact_bucket``), so while a run lasts everything that it has
put is there from its PUT on, and what it has deleted is billed for some days more. Not counted are progress records
that were overwritten, some hundred bytes a second, and inboxes, whose objects are there for seconds: 16 MiB in S3
Standard cost for a minute a six-hundredth of their own PUT.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from launch.run_records import RunRecords
from runtime import keys
from runtime.records import WorkerSummary


@dataclass(frozen=True)
class Stored:
    """A run's objects in its artifact bucket."""

    byte_s: float
    """Bytes times the seconds that they were there, from the run's beginning to its end."""
    deleted_bytes: int
    """Of layers' files that the run has put and deleted."""


@dataclass(frozen=True)
class _File:
    """A layer's file that is gone."""

    layer: int
    name: str
    at: float


def stored(records: RunRecords) -> Stored:
    """What the run's workers and its start have put into the bucket, and its data set, up to its last sign of life."""
    initial = records.commits.get(0)
    if initial is None:
        return Stored(0.0, 0)
    begin = initial.at
    end = max([begin, *_signs(records)])
    there = {
        held.key: held
        for prefix in (keys.data_prefix(records.manifest.dataset.sha256), keys.run_prefix(records.run))
        for held in records.store.held(prefix)
    }
    byte_s = sum(held.bytes * _seconds(held.at, begin, end) for held in there.values())
    sizes = {
        index: there[key].bytes
        for number in sorted(set(records.commits) - {0})
        for index, name in enumerate(records.commits[number].layers)
        if (key := keys.layer(records.run, name)) in there
    }
    at_first = dict(enumerate(initial.layer_bytes or []))
    deleted = 0
    for file in _files(records):
        if keys.layer(records.run, file.name) in there:
            continue
        # A layer's state has one size, but for the optimiser's part, which the initial one has not.
        own, other = (at_first, sizes) if file.name.startswith(f"{keys.INITIAL}/") else (sizes, at_first)
        size = own.get(file.layer, other.get(file.layer, 0))
        deleted += size
        byte_s += size * _seconds(file.at, begin, end)
    return Stored(byte_s, deleted)


def _seconds(at: float, begin: float, end: float) -> float:
    return max(0.0, end - max(at, begin))


def _signs(records: RunRecords) -> Iterator[float]:
    """Times at which the run has left a record."""
    yield from (summary.ended_at for summary in records.summaries.values())
    yield from (progress.updated_at for progress in records.progress.values())
    yield from (failure.at for failure in records.failures.values())
    yield from (abort.at for abort in records.aborts.values())
    yield from (commit.at for commit in records.commits.values())


def _files(records: RunRecords) -> Iterator[_File]:
    """Every layer's file that a commit or a worker's summary names, each once."""
    seen: set[str] = set()
    named = [
        (int(index), name, _saved_at(summary))
        for summary in records.summaries.values()
        for index, name in summary.checkpoint.items()
    ]
    named += [
        (index, name, records.commits[number].at)
        for number in sorted(records.commits)
        for index, name in enumerate(records.commits[number].layers)
    ]
    for layer, name, at in sorted(named, key=lambda item: item[2]):
        if name not in seen:
            seen.add(name)
            yield _File(layer, name, at)


def _saved_at(summary: WorkerSummary) -> float:
    """When its last layer's file was stored."""
    return summary.iteration_ends[-1] + summary.checkpoint_s if summary.iteration_ends else summary.ended_at
