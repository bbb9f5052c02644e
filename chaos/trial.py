"""One run that meets a fault, and what became of it beside a run that meets none."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from chaos.faults import Fault, Kind, rules
from chaos.stack import POLL_S, Stack
from launch.audit import Audit, audit
from launch.billed import logged
from launch.registry import RunEntry
from launch.resuming import OldRun
from launch.run_records import RunRecords
from localaws.arming import Struck, Write
from localaws.faults import Rule
from runtime import keys
from runtime.account import hung
from runtime.checkpoint import load_weights
from runtime.errors import FuncpipeError
from runtime.manifest import Manifest
from runtime.spending import aborted_s, billed_s, gang_usd_per_s, worker_usd_per_s
from runtime.store import KeyNotFound

Weights = dict[str, torch.Tensor]
RESUMED = (Kind.EXCEPTION, Kind.EMULATOR_RESTART)
"""A run that meets these ends, and its owner resumes it."""
STRIKES_ONE = (Kind.KILL, Kind.EXCEPTION, Kind.ZOMBIE)
"""One worker ends by these, at a known time, and its gang with it."""
LOG_SLACK_S = 1.0


TAIL_S = 0.5
"""An invocation lasts so much longer than its worker can tell, at most: the way out of the handler, and the leader's
sweep."""


@dataclass(frozen=True)
class Price:
    """What a run's Lambda invocations cost, in USD, told from two sides.

    An aborted attempt is counted as the most that it can have cost, so ``counted`` may be above ``reported`` for a run
    that has some. Of a worker that is invoked twice, the second invocation is billed and not counted.
    """

    counted: float
    """By the workers and the workflow, as the budget is kept."""
    reported: float
    """By the emulator's REPORT lines."""
    tail: float
    """TAIL_S of each of those invocations."""
    invocations: int

    def agrees(self, *, aborted: bool) -> bool:
        """Whether ``counted`` is what was ``reported``; not less, where attempts were ``aborted``."""
        above = self.counted - self.reported
        return -self.tail <= above and (aborted or above <= self.tail)


@dataclass(frozen=True)
class Trial:
    """What became of a run."""

    fault: Fault | None
    run: str
    seconds: float
    aborted: int
    """Attempts."""
    lost: int
    """Iterations that an aborted attempt had begun, of the one that had begun most."""
    segment: int
    """Iterations of the longest segment."""
    resumed: bool
    met: bool
    ended: bool
    equal: bool
    """Its weights are those of the run without a fault, bit for bit."""
    late_writes: int
    """PUTs by workers of attempts that had been aborted."""
    refused_outcomes: int
    """Outcomes that storage refused, because the attempt had one."""
    price: Price | None
    """None for a run whose emulator, and so its log, is gone."""
    stopped_s: float | None
    """From the fault to the last word of the attempt's other workers, where it ended one worker."""
    wrong: tuple[str, ...]
    """In words: what contradicts the protocol, or why there are no weights."""

    @property
    def passed(self) -> bool:
        return self.met and self.ended and self.equal and not self.wrong and self.lost <= self.segment


def weights_without_fault(stack: Stack, run: str) -> tuple[Weights, Trial]:
    """Of a run that meets no fault. Raises FuncpipeError when it does not reach its end."""
    trial, weights = _attempt(stack, None, run, None)
    if weights is None or not trial.ended:
        raise FuncpipeError(f"run {run} without a fault did not reach its end: {'; '.join(trial.wrong)}")
    return weights, trial


def attempt(stack: Stack, fault: Fault, run: str, expected: Weights) -> Trial:
    """A run that meets ``fault``; if that ends it, it is resumed once."""
    return _attempt(stack, fault, run, expected)[0]


def run_id(fault: Fault | None, prefix: str) -> str:
    """Of a new run, which the registry keeps."""
    what = "none" if fault is None else f"{fault.kind.value}-{fault.seed}"
    return f"{prefix}-{what}-{secrets.token_hex(2)}"


def _attempt(stack: Stack, fault: Fault | None, run: str, expected: Weights | None) -> tuple[Trial, Weights | None]:
    began, limit_s = time.time(), _limit_s(stack.plan.manifest)
    entry, store = stack.stage(run), stack.store  # which stays, when the plan is deployed anew with another bucket
    stack.arm([] if fault is None else _rules(stack, fault, run))
    with stack.started(entry):
        restarted = fault is not None and fault.kind is Kind.EMULATOR_RESTART and _restart(stack, entry)
        ending = stack.await_end(entry, limit_s)
    seen = stack.struck()
    stack.arm([])
    records = [RunRecords(store, run)]
    price = None if restarted else _price(stack, records[0], began)
    resumed = fault is not None and fault.kind in RESUMED and ending is not None and not ending.succeeded
    if resumed:
        again = stack.stage(f"{run}-on", OldRun(run, store))
        with stack.started(again):
            ending = stack.await_end(again, limit_s)
        records.append(RunRecords(stack.store, again.run))
    audits = [audit(each) for each in records]
    weights, wrong = _weights(stack, records[-1], [fact for each in audits for fact in each.wrong])
    aborted = sum(each.aborted for each in audits)
    comparable = fault is None or fault.kind is not Kind.DUPLICATED_EVENT
    if price is not None and comparable and not resumed and not price.agrees(aborted=aborted > 0):
        wrong += (f"counted {price.counted:.6f} USD of compute, reported {price.reported:.6f} USD",)
    return Trial(
        fault=fault,
        run=run,
        seconds=time.time() - began,
        aborted=aborted,
        lost=max((lost for each in audits for lost in each.lost), default=0),
        segment=_longest(audits),
        resumed=resumed,
        met=fault is None or restarted or bool(seen.hits),
        ended=ending is not None,
        equal=weights is not None and (expected is None or _same(weights, expected)),
        late_writes=_late(records[0], seen.writes),
        refused_outcomes=_refused(run, seen),
        price=price,
        stopped_s=_stopped_s(records[0], seen) if fault is not None and fault.kind in STRIKES_ONE else None,
        wrong=wrong,
    ), weights


def _limit_s(manifest: Manifest) -> float:
    """By when any run must have ended, of as many segments as planned."""
    worst = manifest.segment.attempts * (2 * manifest.segment.timeout_s + 60)
    return manifest.segments * worst


def _rules(stack: Stack, fault: Fault, run: str) -> list[Rule]:
    return rules(fault, stack.plan.manifest, run, {function.stage: function.name for function in stack.functions})


def _restart(stack: Stack, entry: RunEntry) -> bool:
    """Restarts the emulator when the first segment has been committed, or, in a run of one segment, its gang has begun.

    False when the run has ended before.
    """
    gang = keys.GangKeys(entry.run, 0, 0)
    awaited = gang.outcome if stack.plan.manifest.segments > 1 else gang.progress(0, 0)
    while stack.ending(entry) is None:
        try:
            stack.store.get(awaited)
        except KeyNotFound:
            time.sleep(POLL_S)
        else:
            stack.restart()
            return True
    return False


def _weights(stack: Stack, records: RunRecords, wrong: list[str]) -> tuple[Weights | None, tuple[str, ...]]:
    done, total = records.committed_iteration, records.manifest.iterations
    if done < total:
        failed = [failure.error for failure in records.failures.values()]
        words = f"{done} of {total} iterations are saved" + (f"; {failed[-1]}" if failed else "")
        return None, (*wrong, words)
    return load_weights(records.store, records.run), tuple(wrong)


def _same(found: Weights, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def _longest(audits: Sequence[Audit]) -> int:
    return max((length for each in audits for length in each.segment_iterations), default=0)


def _late(records: RunRecords, writes: Sequence[Write]) -> int:
    late = 0
    for (segment, attempt_number), abort in records.aborts.items():
        gang = keys.GangKeys(records.run, segment, attempt_number)
        own = (f"/{gang.inbox_prefix}", gang.claim(0, 0).rpartition("claims/")[0], gang.outcome)
        late += sum(write.at > abort.at and any(part in write.path for part in own) for write in writes)
    return late


def _stopped_s(records: RunRecords, seen: Struck) -> float | None:
    words = [failure.at for worker, failure in records.failures.items() if worker[:2] == (0, 0)]
    return max(words) - seen.hits[0].at if words and seen.hits else None


def _refused(run: str, seen: Struck) -> int:
    prefix = keys.outcomes_prefix(run)
    return sum(write.status == 412 and prefix in write.path for write in seen.writes)


def _price(stack: Stack, records: RunRecords, began: float) -> Price:
    """Of compute: storage requests and transitions are counted by the same side in both."""
    records.refresh()
    manifest, now = records.manifest, time.time()
    found = logged(stack.functions, began, now + LOG_SLACK_S).invocations
    prices = manifest.spending.prices
    reported = sum(each.billed_s * worker_usd_per_s(manifest.stages[each.stage], prices) for each in found)
    tail = sum(TAIL_S * worker_usd_per_s(manifest.stages[each.stage], prices) for each in found)
    return Price(_counted(records), reported, tail, len(found))


def _counted(records: RunRecords) -> float:
    """Compute in USD of all attempts, as ``runtime.spending`` counts them."""
    manifest = records.manifest
    committed = {(number - 1, commit.attempt) for number, commit in records.commits.items() if number}
    usd = sum(aborted_s(manifest, abort) * gang_usd_per_s(manifest) for abort in records.aborts.values())
    aborts = [(keys.GangKeys(records.run, *gang), abort) for gang, abort in records.aborts.items()]
    usd += hung(records.store, manifest, aborts)[1]
    for (segment, attempt_number, stage, _), summary in records.summaries.items():
        if (segment, attempt_number) in committed:
            usd += billed_s(summary) * worker_usd_per_s(manifest.stages[stage], manifest.spending.prices)
    return usd
