"""How many more iterations the time and the money of a gang allow, by the leader's reckoning.

time     until the first worker is ended  -  checkpoint and margin  ┐
                                                                    ├─ / (longest iteration lately x slack)
money    (budget - spent) / rate          -  checkpoint and margin  ┘
"""

import time
from collections import deque
from collections.abc import Callable
from math import floor, inf

from runtime.manifest import Manifest
from runtime.records import Commit, End, EndReason, Ready, Traffic
from runtime.segment_end import LEAD
from runtime.spending import (
    gang_usd_per_s,
    predicted_requests_usd_per_s,
    requests_usd,
    worker_usd_per_s,
)

REMEMBERED = 16
"""Iterations that the longest one is looked for among: the speed of a machine changes."""
MEASURED_SLACK = 1.5
"""An iteration may take this much longer than the longest remembered one."""
PREDICTED_SLACK = 3.0
"""The same, while nothing but the plan's prediction is known."""
CHECKPOINT_SLACK = 2.0
UNMEASURED_CHECKPOINT_SHARE = 0.05
"""Of the functions' timeout: kept at least for the first checkpoint of a run, of which only a prediction is known."""
MARGIN_SHARE = 0.02
"""Of the functions' timeout: before the end of a worker's life, in which it can still say what it waited for."""
FEW = 2 * LEAD
"""Where no more iterations than these fit into the segment, its end is told before the first of them begins."""


class Allowance:
    """The leader's view of the gang's time and money.

    Args:
        base: the commit that the segment goes on from.
        spent_usd: by the run, up to the gang's start.
        ready: what the workers told, in the order of ``manifest.places``.
        traffic: of the leader, so far; the others are taken to make as many requests.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        manifest: Manifest,
        base: Commit,
        *,
        spent_usd: float,
        ready: list[Ready],
        traffic: Callable[[], Traffic],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._manifest, self._base, self._traffic, self._clock = manifest, base, traffic, clock
        self._met_at = clock()
        # What a clock that runs ahead calls the future is now. One that runs behind makes the segment shorter, but not
        # by more than a worker waits for its gang.
        ages = [min(max(0.0, now() - told.at), manifest.segment.stall_timeout_s) for told in ready]
        self.remaining_s = min(told.remaining_s - age for told, age in zip(ready, ages, strict=True))
        self.start_up_s = max(told.billed_s + age for told, age in zip(ready, ages, strict=True))
        self._spent_at_meeting = spent_usd + sum(
            worker_usd_per_s(manifest.stages[stage], manifest.spending.prices) * (told.billed_s + age)
            for (stage, _), told, age in zip(manifest.places, ready, ages, strict=True)
        )
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self.longest_s: float | None = None
        """Of the segment's iterations."""

    def observe(self, seconds: float) -> None:
        """An iteration took so long."""
        self._seconds.append(seconds)
        self.longest_s = max(seconds, self.longest_s or 0.0)

    @property
    def iteration_s(self) -> float:
        """How long an iteration may take."""
        if self._seconds:
            return MEASURED_SLACK * max(self._seconds)
        if self._base.iteration_s is not None:
            return MEASURED_SLACK * self._base.iteration_s
        return PREDICTED_SLACK * self._manifest.predicted.iteration_s

    @property
    def checkpoint_s(self) -> float:
        """How long checkpoint and commit may take."""
        known = self._base.checkpoint_s
        return CHECKPOINT_SLACK * (self._manifest.segment.checkpoint_s if known is None else known)

    @property
    def closing_s(self) -> float:
        """What is kept of the workers' life time for the checkpoint, with a margin."""
        timeout_s = self._manifest.segment.timeout_s
        least_s = UNMEASURED_CHECKPOINT_SHARE * timeout_s if self._base.checkpoint_s is None else 0.0
        return max(self.checkpoint_s, least_s) + MARGIN_SHARE * timeout_s

    @property
    def time_left_s(self) -> float:
        """For iterations, until the checkpoint must begin."""
        return self.remaining_s - (self._clock() - self._met_at) - self.closing_s

    def money_left_s(self, spent_usd: float | None = None) -> float:
        """How long the gang may go on until the checkpoint must begin; ``spent_usd`` by default what is spent now."""
        budget = self._manifest.spending.budget_usd
        if budget is None:
            return inf
        spent = self.spent_usd if spent_usd is None else spent_usd
        return (budget - spent) / self._usd_per_s() - self.checkpoint_s

    def __call__(self) -> tuple[float, EndReason]:
        """Iterations that are allowed from now on, and what would end them."""
        time_s, money_s = self.time_left_s, self.money_left_s()
        left_s, reason = (money_s, EndReason.BUDGET) if money_s < time_s else (time_s, EndReason.TIME)
        longest = self.iteration_s
        return (max(0.0, left_s / longest) if longest else inf if left_s > 0 else 0.0), reason

    def end_from_start(self, first: int) -> End | None:
        """The end to tell before the first iteration, where few fit."""
        allowed, reason = self()
        if allowed > FEW:
            return None
        least = 1 if reason is EndReason.TIME else 0
        return End(iteration=first + max(least, floor(allowed)), reason=reason)

    def affords_another(self, spent_usd: float) -> bool:
        """Whether, ``spent_usd`` being spent, another segment may begin: start-up, an iteration and a checkpoint."""
        attempt_usd = self._manifest.spending.prices.usd_per_attempt
        return self.money_left_s(spent_usd + attempt_usd) >= self.start_up_s + self.iteration_s

    def _usd_per_s(self) -> float:
        return gang_usd_per_s(self._manifest) + self._requests_usd_per_s()

    def _requests_usd_per_s(self) -> float:
        elapsed = self._clock() - self._met_at
        if not self._seconds or elapsed <= 0:
            return predicted_requests_usd_per_s(self._manifest)
        return self._requests_usd() / elapsed

    def _requests_usd(self) -> float:
        return self._manifest.workers * requests_usd(self._traffic(), self._manifest.spending.prices)

    @property
    def spent_usd(self) -> float:
        """By the run, up to now."""
        elapsed = self._clock() - self._met_at
        attempt_usd = self._manifest.spending.prices.usd_per_attempt
        return self._spent_at_meeting + attempt_usd + gang_usd_per_s(self._manifest) * elapsed + self._requests_usd()
