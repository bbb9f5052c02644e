"""What a run has been billed for: until the last commit, by the attempts that were aborted since, and by a gang."""

from collections.abc import Iterable

from runtime import keys
from runtime.barrier import Place
from runtime.manifest import Manifest
from runtime.outcome import read_outcome
from runtime.records import Abort, Claim, Commit, WorkerEvent, WorkerSummary
from runtime.spending import aborted_s, aborted_usd, billed_s, committed_usd, worker_usd_per_s
from runtime.store import Data, KeyNotFound, Store


class Account:
    """The money and the seconds of a run, as the leader of a gang knows them when it begins, and when it commits."""

    def __init__(self, artifacts: Store, manifest: Manifest, event: WorkerEvent, base: Commit) -> None:
        earlier = [keys.GangKeys(event.run, event.segment, attempt) for attempt in range(event.attempt)]
        self._aborts = [(gang, found) for gang in earlier if isinstance(found := read_outcome(artifacts, gang), Abort)]
        self._artifacts, self._manifest = artifacts, manifest
        self.spent_usd = base.spent_usd + sum(aborted_usd(manifest, abort) for _, abort in self._aborts)
        self.billed_s = base.billed_s + manifest.workers * sum(aborted_s(manifest, abort) for _, abort in self._aborts)

    def with_gang(self, summaries: Iterable[WorkerSummary]) -> tuple[float, float]:
        """Seconds and USD when the gang's workers have ended; called when it has done its iterations.

        By then every worker of an aborted attempt has ended and told so. Who has not hangs, and Lambda bills it until
        the functions' timeout.
        """
        told = list(summaries)
        seconds, usd = hung(self._artifacts, self._manifest, self._aborts)
        seconds += self.billed_s + sum(billed_s(summary) for summary in told)
        return seconds, usd + self.spent_usd + committed_usd(self._manifest, told)


def hung(artifacts: Store, manifest: Manifest, aborts: Iterable[tuple[keys.GangKeys, Abort]]) -> tuple[float, float]:
    """Seconds and USD that workers of aborted attempts are billed for beyond ``aborted_s``, since they hang."""
    seconds = usd = 0.0
    for gang, abort in aborts:
        for stage, replica in manifest.places:
            claim = _silent(artifacts, gang, abort, (stage, replica))
            if claim is None:
                continue
            # Its environment's start-up is billed, too: no longer than a gang would have waited for it.
            start_up_s = min(max(0.0, claim.at - abort.begun_at), manifest.segment.stall_timeout_s)
            longer_s = start_up_s + manifest.segment.timeout_s - aborted_s(manifest, abort)
            seconds += longer_s
            usd += longer_s * worker_usd_per_s(manifest.stages[stage], manifest.spending.prices)
    return seconds, usd


def _silent(artifacts: Store, gang: keys.GangKeys, abort: Abort, place: Place) -> Claim | None:
    """The claim of a worker that has begun and has left no word of its end, nor anybody else for it."""
    ended = abort.failure.event if abort.failure is not None else None
    if ended is not None and (ended.stage, ended.replica) == place:
        return None
    claim = _get(artifacts, gang.claim(*place))
    if claim is None or _get(artifacts, gang.failure(*place)) or _get(artifacts, gang.summary(*place)):
        return None
    return Claim.model_validate_json(bytes(claim))


def _get(artifacts: Store, key: str) -> Data | None:
    try:
        return artifacts.get(key)
    except KeyNotFound:
        return None
