"""Which faults there are, and which one a seed stands for."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runtime.store_faults import FaultKind, FaultRule, FaultSpec


class Kind(StrEnum):
    """A kind of fault, by the words of the table in the docs."""

    KILL = "kill"
    HANG = "hang"
    EXCEPTION = "exception"
    SLOW_WORKER = "slow worker"
    CLOCK_AHEAD = "clock ahead"
    CLOCK_BEHIND = "clock behind"
    DUPLICATED_EVENT = "duplicated event"
    ZOMBIE = "zombie"
    LOST_PUT = "lost put"
    DELAYED_PUT = "delayed put"
    DUPLICATED_PUT = "duplicated put"
    UNANSWERED_PUT = "unanswered put"
    READ_ERROR = "read error"
    THROTTLED = "throttled storage"
    SLOW_STORAGE = "slow storage"


_STORE_RULES: dict[Kind, FaultRule] = {
    # S3 acknowledges no PUT that it loses; a message between workers may be lost all the same, by a bug or a deletion.
    Kind.LOST_PUT: FaultRule(kind=FaultKind.LOST_PUT, key="*/00000/000/activation/*", share=0.25),
    # What is still on its way when its sender ends is lost, so that a first attempt may not be the last one.
    Kind.DELAYED_PUT: FaultRule(kind=FaultKind.DELAYED_PUT, key="*/000/*", share=0.2, delay_s=0.2),
    Kind.DUPLICATED_PUT: FaultRule(kind=FaultKind.DUPLICATED_PUT, share=0.3, delay_s=0.3),
    Kind.UNANSWERED_PUT: FaultRule(kind=FaultKind.UNANSWERED_PUT, share=0.15),
    Kind.READ_ERROR: FaultRule(kind=FaultKind.READ_ERROR, share=0.15),
    Kind.THROTTLED: FaultRule(kind=FaultKind.THROTTLED, share=0.1),
    Kind.SLOW_STORAGE: FaultRule(kind=FaultKind.SLOW, share=0.2, delay_s=0.05),
}
DELIVERIES = (Kind.DUPLICATED_EVENT, Kind.ZOMBIE)
"""A worker is invoked a second time: beside the first one, or when its gang, of which one was killed, is given up."""
LAYERS = 6
CALLS = 8
"""Forward passes of each worker in an attempt of ``trial.PLAN``: 4 iterations of at least 2 micro-batches."""


@dataclass(frozen=True)
class Fault:
    """One fault: of a worker, which the model does to itself, or of storage."""

    kind: Kind
    seed: int

    @property
    def store(self) -> FaultSpec:
        """What the workers' stores do."""
        rules = (_STORE_RULES[self.kind],) if self.kind in _STORE_RULES else ()
        return FaultSpec(seed=self.seed, rules=rules)

    def model_args(self, marker: str) -> dict[str, Any]:
        """Arguments of ``source/struck.py``; which layer, and so which stage, and when, follow from the seed."""
        if self.kind in _STORE_RULES or self.kind is Kind.DUPLICATED_EVENT:
            return {}
        chance = random.Random(f"{self.kind}/{self.seed}")
        place = {"layer": chance.randrange(LAYERS), "call": chance.randint(1, CALLS)}
        how = Kind.KILL if self.kind is Kind.ZOMBIE else self.kind
        return {**place, "how": how.value, "marker": marker}

    def invoked_again(self, places: list[tuple[int, int]]) -> tuple[int, int] | None:
        """The worker of the first attempt that is invoked a second time, if one is."""
        if self.kind not in DELIVERIES:
            return None
        return random.Random(f"{self.kind}/{self.seed}/again").choice(places)


def faults(kinds: tuple[Kind, ...], runs: int, seed: int) -> list[Fault]:
    """``runs`` faults, the kinds in turn."""
    return [Fault(kinds[number % len(kinds)], seed + number) for number in range(runs)]
