"""A run that meets a fault, in local processes, and what became of it beside a run that meets none."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from launch.audit import audit
from launch.resuming import OldRun
from launch.run_records import RunRecords
from runtime.records import Abort
from tests.faults.faults import Fault, Kind
from tests.faults.zombies import SecondDelivery
from tests.gangs import FixtureRun

SOURCE = Path(__file__).parent / "source"
SEGMENT_ITERATIONS = 4
PLAN = {
    "layers": [2, 2, 2],
    "replicas": [2, 1, 2],
    "global_batch_size": 16,
    "micro_batch_size": 4,
    "iterations": 8,
    "max_iterations": SEGMENT_ITERATIONS,
    "stall_timeout_s": 4.0,
    "timeout_s": 60,
    "attempts": 4,
}
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Trial:
    """What became of a run."""

    fault: Fault
    seconds: float
    aborted: int
    """Attempts."""
    resumed: bool
    met: bool
    """The fault happened, as far as can be told: of storage's, it is taken for granted."""
    equal: bool
    """Its weights are those of the run without a fault, bit for bit."""
    ended: str
    """In words, where it did not reach its last iteration."""
    lost: int = 0
    """Iterations that an aborted attempt had begun, of the one that had begun most."""
    late_writes: int = 0
    """By workers of attempts that had been aborted, as far as they are still there, and by those invoked again."""
    wrong: tuple[str, ...] = ()
    """In words, what contradicts the protocol, such as a late write that counts."""

    @property
    def passed(self) -> bool:
        return self.met and self.equal and not self.wrong and self.lost <= SEGMENT_ITERATIONS

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.passed:
            return "equal"
        if not self.met:
            return "not met"
        return f"NOT EQUAL {self.ended}" if not self.equal else f"WRONG: {'; '.join(self.wrong)}; lost {self.lost}"


def weights_without_fault(root: Path) -> Weights:
    return _run(root, None).train().weights


def attempt(fault: Fault, root: Path, expected: Weights) -> Trial:
    """Runs with the fault; a run that fails, as a bug in the user's model makes it, is resumed once."""
    began = time.monotonic()
    runs = [_run(root, fault)]
    delivered, late = _train(runs[0], fault)
    if fault.kind is Kind.EXCEPTION and runs[0].gang.stop_reason is not None:
        runs.append(_run(root, fault, OldRun(runs[0].run, runs[0].gang.artifacts)))
        _train(runs[1], None)
    last = runs[-1]
    seconds = time.monotonic() - began
    found = [audit(RunRecords(run.gang.artifacts, run.run)) for run in runs]
    ended = last.gang.stop_reason or ""
    marker = last.manifest.model.args.get("marker")
    return Trial(
        fault,
        seconds,
        aborted=sum(each.aborted for each in found),
        resumed=len(runs) > 1,
        met=delivered and (marker is None or Path(marker).exists()),
        equal=not ended and _same(last.weights, expected),
        ended=ended,
        lost=max((lost for each in found for lost in each.lost), default=0),
        late_writes=late + sum(map(_late_writes, runs)),
        wrong=tuple(wrong for each in found for wrong in each.wrong),
    )


def _train(run: FixtureRun, fault: Fault | None) -> tuple[bool, int]:
    """Runs to its end; whether a second invocation was made where one was due, and how many late writes it made."""
    run.gang.start()
    place = fault.invoked_again(list(run.manifest.places)) if fault is not None else None
    again = None if place is None or fault is None else SecondDelivery(run, place, late=fault.kind is Kind.ZOMBIE)
    if again is not None:
        again.start()
    run.gang.wait()
    return (True, 0) if again is None else (again.finish() >= 0 and again.delivered, again.writes)


def _late_writes(run: FixtureRun) -> int:
    """Objects of aborted attempts that were written after the abort, and are still there."""
    late = 0
    for gang, outcome in run.outcomes_by_gang.items():
        if isinstance(outcome, Abort):
            places = [run.gang.artifacts.root / Path(gang.claim(0, 0)).parents[1]]
            places += [inbox / gang.inbox_prefix for inbox in run.root.glob("inbox-*")]
            written = [file for place in places for file in place.rglob("*") if file.is_file()]
            late += sum(file.stat().st_mtime > outcome.at for file in written)
    return late


def _run(root: Path, fault: Fault | None, resume: OldRun | None = None) -> FixtureRun:
    return FixtureRun(
        root,
        source=SOURCE,
        run="run" if resume is None else "resumed",
        resume=resume,
        faults=None if fault is None else fault.store,
        model="struck:build",
        model_args={} if fault is None else fault.model_args(str(root / "struck")),
        data="struck:data",
        **PLAN,
    )


def _same(found: Weights, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
