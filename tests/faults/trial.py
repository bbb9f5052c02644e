"""A run that meets a fault, in local processes, and what became of it beside a run that meets none."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from launch.resuming import OldRun
from runtime.records import Abort
from tests.faults.faults import Fault, Kind
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


def weights_without_fault(root: Path) -> Weights:
    return _run(root, None).train().weights


def attempt(fault: Fault, root: Path, expected: Weights) -> Trial:
    """Runs with the fault; a run that fails, as a bug in the user's model makes it, is resumed once."""
    began = time.monotonic()
    run = _run(root, fault)
    run.gang.start()
    run.gang.wait()
    aborted = _aborted(run)
    if resumed := fault.kind is Kind.EXCEPTION and run.gang.stop_reason is not None:
        run = _run(root, fault, OldRun(run.run, run.gang.artifacts))
        run.gang.start()
        run.gang.wait()
        aborted += _aborted(run)
    ended = run.gang.stop_reason or ""
    equal = not ended and _same(run.weights, expected)
    met = "marker" not in run.manifest.model.args or Path(run.manifest.model.args["marker"]).exists()
    return Trial(fault, time.monotonic() - began, aborted, resumed, met, equal, ended)


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


def _aborted(run: FixtureRun) -> int:
    return sum(isinstance(outcome, Abort) for outcome in run.outcomes)


def _same(found: Weights, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
