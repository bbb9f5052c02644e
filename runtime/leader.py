"""What a gang's leader does besides its own work: the gang's time and money, the segment's end, the commit."""

import time
from collections.abc import Callable
from concurrent.futures import Future

from runtime import keys
from runtime.account import Account
from runtime.allowance import Allowance
from runtime.barrier import LEADER
from runtime.closing import files_of, sweep, write_commit
from runtime.errors import FuncpipeError
from runtime.mailbox import OUTCOME_POLL_S, Mailbox
from runtime.manifest import Manifest
from runtime.records import Commit, End, EndReason, Go, Ready, WorkerEvent, WorkerSummary
from runtime.segment_end import LeadersEnd
from runtime.store import KeyNotFound
from runtime.store_wrappers import TrafficCounter


class Leader:
    """One segment's. ``plan`` when all workers are ready, then ``segment_end``, at last ``commit``."""

    def __init__(
        self,
        mailbox: Mailbox,
        manifest: Manifest,
        event: WorkerEvent,
        base: Commit,
        *,
        counter: TrafficCounter,
        background: Callable[[Callable[[], bool]], "Future[bool]"],
    ) -> None:
        """``background`` runs a small task beside the computing thread; ``counter`` counts the leader's requests."""
        self._mailbox, self._manifest, self._event, self._base = mailbox, manifest, event, base
        self._counter, self._background = counter, background
        self._stop: Future[bool] | None = None
        self._asked_at = 0.0
        self.allowance: Allowance

    def plan(self, ready: list[Ready]) -> Go:
        """What all workers are told before they begin. Raises FuncpipeError when no time is left for iterations."""
        self._account = Account(self._mailbox.artifacts, self._manifest, self._event, self._base)
        self.allowance = Allowance(
            self._manifest,
            self._base,
            spent_usd=self._account.spent_usd,
            ready=ready,
            traffic=lambda: self._counter.traffic,
        )
        if (left_s := self.allowance.time_left_s) <= 0:
            raise FuncpipeError(
                f"segment {self._event.segment} does not fit into the functions' life time: start-up took "
                f"{self.allowance.start_up_s:.1f} s, and the checkpoint may need {self.allowance.closing_s:.1f} s, so "
                f"{left_s:.1f} s are left for iterations (timeout_s: {self._manifest.segment.timeout_s}). Plan again "
                "with more stages or larger limits.memory_mb."
            )
        return Go(remaining_s=self.allowance.remaining_s, end=self.allowance.end_from_start(self._base.iteration))

    def segment_end(self, limit: int, at_limit: EndReason) -> LeadersEnd:
        """As ``runtime.segment_end``; an end is written where there is somebody to read it."""
        return LeadersEnd(self._base.iteration, limit, at_limit, allowance=self._allowed, tell=self._tell)

    def _allowed(self) -> tuple[float, EndReason]:
        """As ``Allowance``, and none when the owner wants a stop, which is asked about once a second."""
        if self._stop is not None and self._stop.done() and self._stop.result():
            return 0.0, EndReason.STOPPED
        now = time.monotonic()
        if (self._stop is None or self._stop.done()) and now - self._asked_at >= OUTCOME_POLL_S:
            self._stop, self._asked_at = self._background(self._stop_is_wanted), now
        return self.allowance()

    def _stop_is_wanted(self) -> bool:
        try:
            self._mailbox.artifacts.get(keys.stop(self._event.run))
        except KeyNotFound:
            return False
        return True

    def _tell(self, end: End) -> None:
        if self._manifest.workers > 1:
            self._mailbox.artifacts.put(self._mailbox.gang.end, end.model_dump_json().encode())

    def commit(self, own: WorkerSummary, reason: EndReason) -> None:
        """Awaits all summaries, makes the checkpoint count, and sweeps.

        Args:
            own: the leader's summary.
            reason: why the segment ended.

        Raises:
            GangAborted, Stalled: another worker failed, or is too slow.
        """
        begun = time.monotonic()
        summaries = [own, *self._others()]
        # The leader is billed for waiting, too, and for its requests meanwhile.
        ended_at = own.ended_at + time.monotonic() - begun
        summaries[0] = own.model_copy(update={"ended_at": ended_at, "traffic": self._counter.traffic})
        billed, spent_usd = self._account.with_gang(summaries)
        if reason.goes_on and self._stop_is_wanted():
            reason = EndReason.STOPPED
        elif reason.goes_on and not self.allowance.affords_another(spent_usd):
            reason = EndReason.BUDGET
        commit = Commit(
            number=self._event.segment + 1,
            attempt=self._event.attempt,
            base=self._event.commit,
            iteration=own.end_iteration,
            layers=files_of(summaries, self._manifest.layer_count, own.end_iteration),
            reason=reason,
            billed_s=billed,
            spent_usd=spent_usd,
            iteration_s=self.allowance.longest_s or self._base.iteration_s,
            checkpoint_s=max(summary.checkpoint_s for summary in summaries),
            at=time.time(),
        )
        write_commit(self._mailbox.artifacts, self._mailbox.gang, commit)
        sweep(self._mailbox.artifacts, self._event.run, commit, self._manifest.checkpoints_kept)

    def _others(self) -> list[WorkerSummary]:
        artifacts, gang = self._mailbox.artifacts, self._mailbox.gang
        keys_of_others = [gang.summary(*place) for place in self._manifest.places if place != LEADER]
        return [
            WorkerSummary.model_validate_json(bytes(self._mailbox.wait(artifacts, key).data)) for key in keys_of_others
        ]
