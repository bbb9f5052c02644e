"""``funcpipe report``: the final account of a run."""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cli.runs import add_local_option, add_run_argument, ending_of, opened_run, source_of
from cli.screen import Screen
from runtime.errors import FuncpipeError, UserInputError

if TYPE_CHECKING:
    from launch.evaluation import Evaluation
    from launch.registry import RunEntry
    from launch.run_records import RunRecords
    from planner.pricing import Bill
    from runtime.store import Store

EXAMPLE = """\
example: how did it go, and what did it cost
  funcpipe report first
  funcpipe report first --json --output report.json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "report",
        help="the final account of a run: accuracy, time, memory, traffic, cost",
        description="Evaluate the trained weights on held-out data, compare time and memory with the plan's "
        "prediction, and itemise what the run cost on AWS, or would have.",
        epilog=EXAMPLE,
    )
    add_run_argument(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="also write the report to FILE, as JSON")
    add_local_option(parser)
    parser.set_defaults(handler=report)


def report(args: argparse.Namespace, screen: Screen) -> int:
    from cli.files import check_output
    from cli.report_view import report_tables
    from launch.following import concluded
    from launch.report import make_report
    from launch.run_records import RunRecords
    from launch.status import StatusReader

    with opened_run(args) as (entry, store):
        records = RunRecords(store, entry.run)
        if args.output is not None:
            check_output(args.output, source_of(entry, records.manifest))
        ending = ending_of(entry)
        status = StatusReader(records).read(time.time())
        if ending is not None:
            status = concluded(status, ending)
        else:
            screen.warn(f"run {entry.run} is still going; this is its account so far")
        evaluation, note = _evaluation(entry, records, store)
        kind = "embedded" if entry.embedded else entry.kind
        made = make_report(records, status, kind, evaluation, note, _priced(entry, records, screen))
    if args.output is not None:
        _save(args.output, made.to_dict())
    screen.result(made.to_dict(), report_tables(made))
    return 0


def _evaluation(entry: "RunEntry", records: "RunRecords", store: "Store") -> "tuple[Evaluation | None, str | None]":
    """Figures on held-out data, or why there are none: an account of the rest is still worth having."""
    if records.committed_iteration == 0:
        return None, "no trained weights are saved"

    from launch.evaluation import evaluate
    from launch.staging import source_folder

    try:
        source = source_folder(records.manifest, Path(entry.manifest_path))
        found = evaluate(records.manifest, source, store, entry.run)
    except FuncpipeError as error:
        return None, str(error)
    return found, None if found else "the data set has no test split"


def _priced(entry: "RunEntry", records: "RunRecords", screen: Screen) -> "tuple[Bill, str]":
    from launch.bill import bill_by_records, bill_by_reports

    now = time.time()
    if entry.kind == "aws":
        from launch.billed import logged
        from launch.deployment import describe_execution, stage_functions

        assert entry.stack is not None and entry.execution_arn is not None, "an aws entry has them"
        try:
            execution = describe_execution(entry.execution_arn)
            stopped = execution.stopped_at.timestamp() if execution and execution.stopped_at else now
            last_end = stopped + records.manifest.segment.timeout_s
            told = logged(stage_functions(entry.stack), entry.started_at, last_end)
        except FuncpipeError as error:
            screen.warn(f"the bill is computed from the workers' records, since Lambda's own cannot be read: {error}")
        else:
            # The functions' concurrency admits one gang at a time: what began during the run is the run's.
            found = [
                invocation for invocation in told.invocations if entry.started_at <= invocation.begun_at <= stopped
            ]
            if found:
                return bill_by_reports(records, found, told.log_bytes)
            screen.warn("the bill is computed from the workers' records, since the logs hold no REPORT line of the run")
    return bill_by_records(records, now)


def _save(path: Path, document: dict[str, object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserInputError(f"{path}: {error.strerror}. Choose another file with --output.") from None
