"""``python -m tests.faults``: runs that meet faults, by kind and seed; prints the table of docs/faults.md.

Exit status 1 when a run did not meet its fault, or not end with the weights of one without faults.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.faults.faults import Kind, faults
from tests.faults.trial import Trial, attempt, weights_without_fault


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=2 * len(Kind), help="how many; kinds take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others count on from it")
    parser.add_argument("--kind", action="append", type=Kind, choices=list(Kind), help="only this one; may be repeated")
    options = parser.parse_args(arguments)
    trials = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        expected = weights_without_fault(Path(folder, "none"))
        for number, fault in enumerate(faults(tuple(options.kind or Kind), options.runs, options.seed)):
            trial = attempt(fault, Path(folder, str(number)), expected)
            verdict = "not met" if not trial.met else "equal" if trial.equal else f"NOT EQUAL {trial.ended}"
            print(f"{fault.kind} seed {fault.seed}: {verdict}, {trial.seconds:.1f} s", file=sys.stderr)
            trials.append(trial)
    print(table(trials))
    return 0 if all(trial.met and trial.equal for trial in trials) else 1


def table(trials: Sequence[Trial]) -> str:
    """By kind of fault, as Markdown."""
    lines = ["| fault | runs | same weights | aborted attempts, at most | resumed | seconds, median |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for kind in Kind:
        own = [trial for trial in trials if trial.fault.kind is kind and trial.met]
        if own:
            equal, resumed = sum(trial.equal for trial in own), sum(trial.resumed for trial in own)
            aborted, seconds = max(trial.aborted for trial in own), median(trial.seconds for trial in own)
            lines.append(f"| {kind} | {len(own)} | {equal} | {aborted} | {resumed} | {seconds:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
