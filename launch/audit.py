"""Whether what a run has left in storage is what docs/protocol.md promises, whatever it met; and what that cost."""

from collections.abc import Iterator
from dataclasses import dataclass

from launch.run_records import RunRecords
from runtime import keys
from runtime.barrier import LEADER
from runtime.checkpoint import CheckpointError, check_layers
from runtime.outcome import read_outcome
from runtime.records import Abort, Commit, End
from runtime.store import KeyNotFound


@dataclass(frozen=True)
class Audit:
    """What became of the attempts of a run that has ended."""

    commits: int
    """Without the one that the run began with."""
    aborted: int
    lost: tuple[int, ...]
    """Of each aborted attempt, the iterations that its workers had begun, at most: work that did not count."""
    segment_iterations: tuple[int, ...]
    """Of each segment, the iterations that it could have had at most."""
    wrong: tuple[str, ...]
    """In words, what contradicts the protocol; nothing should."""


def audit(records: RunRecords) -> Audit:
    """Of a run that has ended. Raises FuncpipeError when a record cannot be understood."""
    records.refresh()
    outcomes = dict(_outcomes(records))
    commits = [outcome for outcome in outcomes.values() if isinstance(outcome, Commit)]
    aborted = [gang for gang, outcome in outcomes.items() if isinstance(outcome, Abort)]
    wrong = [*_wrong_outcomes(outcomes), *_wrong_commits(records, outcomes), *_damage(records, commits)]
    bounds = {gang: _bounds(records, gang) for gang in outcomes}
    return Audit(
        commits=len(commits),
        aborted=len(aborted),
        lost=tuple(_begun(records, gang) for gang in aborted),
        segment_iterations=tuple(end - first for first, end in bounds.values()),
        wrong=tuple(wrong),
    )


Outcomes = dict[tuple[int, int], Commit | Abort]
"""By segment and attempt, in order."""


def _outcomes(records: RunRecords) -> Iterator[tuple[tuple[int, int], Commit | Abort]]:
    listed = records.store.list(keys.outcomes_prefix(records.run))
    gangs = [gang for key in listed if (gang := keys.parse_outcome(records.run, key)) is not None]
    for gang in sorted(gangs, key=lambda gang: (gang.segment, gang.attempt)):
        if (outcome := read_outcome(records.store, gang)) is not None:
            yield (gang.segment, gang.attempt), outcome


def _wrong_outcomes(outcomes: Outcomes) -> Iterator[str]:
    """One attempt after the other, until one has committed; one segment after the other."""
    expected = (0, 0)
    for (segment, attempt), outcome in outcomes.items():
        if (segment, attempt) != expected:
            yield f"attempt {segment}-{attempt} has an outcome, where {expected[0]}-{expected[1]} was to be next"
        expected = (segment + 1, 0) if isinstance(outcome, Commit) else (segment, attempt + 1)


def _wrong_commits(records: RunRecords, outcomes: Outcomes) -> Iterator[str]:
    """A commit goes on from the one before it, and names what its own gang's workers say that they have saved."""
    before = keys.INITIAL
    for (segment, attempt), outcome in outcomes.items():
        if isinstance(outcome, Abort):
            continue
        name = f"{segment}-{attempt}"
        if (outcome.name, outcome.base) != (name, before):
            yield f"commit {name} says that it is {outcome.name} and goes on from {outcome.base}, not from {before}"
        told = {place: records.summaries.get((segment, attempt, *place)) for place in records.manifest.places}
        # The leader's own summary is in its commit; that it is stored is for people.
        if missing := [place for place, summary in told.items() if summary is None and place != LEADER]:
            yield f"commit {name} counts, and worker {missing[0]} has not said that it ended"
        saved: dict[int, str] = {}
        for summary in told.values():
            if summary is not None and summary.checkpoint:
                saved |= {int(index): file for index, file in summary.checkpoint.items()}
                if summary.end_iteration != outcome.iteration:
                    yield f"commit {name} is of {outcome.iteration} iterations, a worker's of {summary.end_iteration}"
        unknown = range(records.manifest.stages[0].end_layer) if told[LEADER] is None else ()
        files = [(index, file) for index, file in enumerate(outcome.layers) if index not in unknown]
        if files != sorted(saved.items()) or len(outcome.layers) != records.manifest.layer_count:
            yield f"commit {name} names other files than its workers have saved"
        before = name


def _damage(records: RunRecords, commits: list[Commit]) -> Iterator[str]:
    """Of the commits that are kept."""
    for commit in commits[-records.manifest.checkpoints_kept :]:
        try:
            check_layers(records.store, records.run, commit)
        except CheckpointError as error:
            yield f"commit {commit.name}: {error}"


def _bounds(records: RunRecords, gang: tuple[int, int]) -> tuple[int, int]:
    """The iteration that an attempt began with, and the one before which it would have ended at the latest."""
    segment, attempt = gang
    base = records.commits.get(segment)
    first = base.iteration if base is not None else 0
    longest = records.manifest.segment.max_iterations
    end = min(records.manifest.iterations, first + longest if longest else records.manifest.iterations)
    try:
        told = End.model_validate_json(bytes(records.store.get(keys.GangKeys(records.run, segment, attempt).end)))
    except KeyNotFound:
        return first, end
    return first, min(end, told.iteration)


def _begun(records: RunRecords, gang: tuple[int, int]) -> int:
    """Iterations of an attempt that any of its workers had begun, as far as their records tell: at most."""
    first, end = _bounds(records, gang)
    begun = [first]
    begun += [told.iteration + 1 for worker, told in records.progress.items() if worker[:2] == gang]
    for worker, failure in records.failures.items():
        if worker[:2] == gang:
            closing = failure.instruction in ("checkpoint", "commit")
            begun.append(end if closing else first if failure.iteration is None else failure.iteration + 1)
    begun += [summary.end_iteration for worker, summary in records.summaries.items() if worker[:2] == gang]
    return min(max(begun), end) - first
