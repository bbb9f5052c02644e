"""``python -m tests.faults``: runs that meet faults, by kind and seed; prints the table of docs/faults.md.

Exit status 1 when a run did not meet its fault, or not end with the weights of one without faults.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tests.faults.faults import Fault, Kind, faults
from tests.faults.trial import Trial, attempt, weights_without_fault


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=2 * len(Kind), help="how many; kinds take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others count on from it")
    parser.add_argument("--kind", action="append", type=Kind, choices=list(Kind), help="only this one; may be repeated")
    parser.add_argument("--log", type=Path, help="append to this file, and print the table of all that is in it")
    options = parser.parse_args(arguments)
    trials = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        expected = weights_without_fault(Path(folder, "none"))
        for number, fault in enumerate(faults(tuple(options.kind or Kind), options.runs, options.seed)):
            trial = attempt(fault, Path(folder, str(number)), expected)
            print(
                f"{fault.kind} seed {fault.seed}: {trial.verdict}, {trial.seconds:.1f} s", file=sys.stderr, flush=True
            )
            trials.append(trial)
            if options.log is not None:
                with open(options.log, "a", encoding="utf-8") as log:
                    log.write(json.dumps(asdict(trial)) + "\n")
    print(table(trials if options.log is None else logged(options.log)))
    return 0 if all(trial.passed for trial in trials) else 1


def logged(log: Path) -> list[Trial]:
    """The trials of all commands that were given this file."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        fault = Fault(Kind(fields["fault"]["kind"]), fields["fault"]["seed"])
        found.append(Trial(**{**fields, "fault": fault, "wrong": tuple(fields["wrong"])}))
    return found


def table(trials: Sequence[Trial]) -> str:
    """By kind of fault, as Markdown."""
    columns = ("fault", "runs", "same weights", "aborted attempts, at most", "iterations lost per abort, at most")
    columns += ("late writes, in all", "runs with anything wrong", "resumed", "seconds, median")
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for kind in Kind:
        own = [trial for trial in trials if trial.fault.kind is kind and trial.met]
        if own:
            cells = [
                kind,
                len(own),
                sum(trial.equal for trial in own),
                max(trial.aborted for trial in own),
                max(trial.lost for trial in own),
                sum(trial.late_writes for trial in own),
                sum(bool(trial.wrong) for trial in own),
                sum(trial.resumed for trial in own),
                f"{median(trial.seconds for trial in own):.1f}",
            ]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
