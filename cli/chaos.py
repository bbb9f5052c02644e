"""``funcpipe chaos``: runs on the embedded AWS that meet faults, and whether they end as if they had not."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.runs import aws_environment, project_folder
from cli.screen import Screen
from runtime.errors import UserInputError

if TYPE_CHECKING:
    from chaos.faults import Kind
    from chaos.stack import Stack
    from chaos.trial import Trial

EXAMPLE = """\
example: every kind of fault twice, on a plan that is deployed on the embedded AWS
  funcpipe local up --keep
  funcpipe local exec -- cdk deploy -c manifest=manifest.json -c packaging=zip
  funcpipe chaos manifest.json --runs 30 --seed 1
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "chaos",
        help="make runs on the embedded AWS meet faults, and compare their weights",
        description="Train MANIFEST on the embedded AWS once without a fault and then with one fault per run, which "
        "follows from its kind and seed. Exit status 1 when a run did not meet its fault, did not end, or ended with "
        "other weights.",
        epilog=EXAMPLE,
    )
    parser.add_argument(
        "manifest", type=Path, nargs="?", metavar="MANIFEST", help="the plan, deployed with packaging=zip"
    )
    parser.add_argument("--runs", type=int, help="how many with a fault; kinds take turns (default: one of each)")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others count on from it")
    parser.add_argument(
        "--kind", action="append", metavar="KIND", help="only this one; may be repeated; `--kind list` lists them"
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="append each run to this file, and print the table of all that is in it",
    )
    parser.add_argument("--stack", metavar="NAME", help="name of the stack (default: funcpipe-<job name>)")
    parser.set_defaults(handler=chaos)


def chaos(args: argparse.Namespace, screen: Screen) -> int:
    from chaos.faults import WHAT, faults
    from chaos.stack import Plan, Stack
    from chaos.trial import attempt, run_id, weights_without_fault
    from cli.local import running_emulator
    from runtime.manifest import load_manifest

    if args.kind == ["list"]:
        kinds = {kind.value: text for kind, text in WHAT.items()}
        screen.result({"kinds": kinds}, "\n".join(f"{name:<18} {text}" for name, text in kinds.items()))
        return 0
    chosen = _kinds(args.kind)
    if args.manifest is None:
        raise UserInputError("Which plan? Give its MANIFEST: `funcpipe chaos manifest.json`.")
    if args.runs is not None and args.runs < 1:
        raise UserInputError(f"--runs must be at least 1 (given: {args.runs}).")
    if args.log is not None:
        _append(args.log, "")
    manifest = load_manifest(args.manifest)
    with aws_environment(True):
        project = project_folder()
        stack = Stack(project, Plan(args.manifest, manifest, args.stack), running_emulator(project))
        kinds = _possible(chosen, named=bool(args.kind), stack=stack, screen=screen)
        prefix = f"chaos-{manifest.name[:8].rstrip('-')}"
        screen.info("a run without a fault, for its weights ...")
        expected, first = weights_without_fault(stack, run_id(None, prefix))
        trials = []
        for fault in faults(kinds, args.runs or len(kinds), args.seed):
            trial = attempt(stack, fault, run_id(fault, prefix), expected)
            screen.info(f"{fault.kind} seed {fault.seed}: {_verdict(trial)}, {trial.seconds:.1f} s ({trial.run})")
            trials.append(trial)
            if args.log is not None:
                _append(args.log, json.dumps(_described(trial)) + "\n")
    passed = sum(trial.passed for trial in trials)
    document = {
        "runs": len(trials),
        "passed": passed,
        "without_fault": _described(first),
        "trials": [_described(trial) for trial in trials],
    }
    shown = document["trials"] if args.log is None else _logged(args.log)
    screen.result(document, f"{_table(shown)}\n\n{passed} of {len(trials)} runs ended as if they had met no fault")
    return 0 if passed == len(trials) else 1


def _kinds(names: list[str] | None) -> "list[Kind]":
    from chaos.faults import Kind

    known = [kind.value for kind in Kind]
    for name in names or []:
        if name not in known:
            raise UserInputError(f"--kind {name}: there is no such fault. Known: {', '.join(known)}.")
    return [Kind(name) for name in names] if names else list(Kind)


def _possible(chosen: "list[Kind]", *, named: bool, stack: "Stack", screen: Screen) -> "tuple[Kind, ...]":
    """Those of the ``chosen`` kinds that a run here can meet. Raises UserInputError where one was ``named`` that it
    cannot, or none is left."""
    from chaos.faults import Kind, possible

    if not stack.emulator.keeps and Kind.EMULATOR_RESTART in chosen:
        if named:
            raise UserInputError(
                "the emulator keeps nothing on disk, so a run does not survive its restart. Start it with "
                "`funcpipe local down`, then `funcpipe local up --keep`, and deploy again."
            )
        screen.info("emulator-restart is left out: the emulator was started without --keep")
        chosen = [kind for kind in chosen if kind is not Kind.EMULATOR_RESTART]
    kinds = tuple(kind for kind in chosen if possible(kind, stack.plan.manifest))
    if not kinds:
        raise UserInputError("a plan of one worker cannot meet these faults. Choose another --kind.")
    return kinds


def _append(log: Path, text: str) -> None:
    try:
        with open(log, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserInputError(f"--log {log}: cannot be written: {error.strerror}. Name another file.") from None


def _verdict(trial: "Trial") -> str:
    if trial.passed:
        return "equal"
    if not trial.met:
        return "NOT MET"
    if not trial.ended:
        return "DID NOT END"
    return f"NOT EQUAL {'; '.join(trial.wrong)}".rstrip()


def _described(trial: "Trial") -> dict[str, Any]:
    from dataclasses import asdict

    fault = None if trial.fault is None else {"kind": trial.fault.kind.value, "seed": trial.fault.seed}
    return {**asdict(trial), "fault": fault, "passed": trial.passed}


def _logged(log: Path) -> list[dict[str, Any]]:
    """The trials of all commands that were given this file. Raises UserInputError when something else is in it."""
    try:
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise UserInputError(f"--log {log}: has a line that is no run's: {error}. Name another file.") from None


def _table(trials: list[dict[str, Any]]) -> str:
    """By kind of fault, as Markdown."""
    from statistics import median

    columns = ("fault", "runs", "same weights", "aborted attempts, at most", "iterations lost per abort, at most")
    columns += (
        "late writes, in all",
        "refused outcomes",
        "runs with anything wrong",
        "resumed",
        "others stopped after s, at most",
    )
    columns += ("seconds, median",)
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for kind in dict.fromkeys(trial["fault"]["kind"] for trial in trials):
        own = [trial for trial in trials if trial["fault"]["kind"] == kind]
        stopped = [trial["stopped_s"] for trial in own if trial["stopped_s"] is not None]
        cells = (
            kind,
            len(own),
            sum(trial["equal"] for trial in own),
            max(trial["aborted"] for trial in own),
            max(trial["lost"] for trial in own),
            sum(trial["late_writes"] for trial in own),
            sum(trial["refused_outcomes"] for trial in own),
            sum(not trial["passed"] for trial in own),
            sum(trial["resumed"] for trial in own),
            f"{max(stopped):.1f}" if stopped else "",
            f"{median(trial['seconds'] for trial in own):.1f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
