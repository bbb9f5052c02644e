"""``funcpipe stop``: ends a run now."""

import argparse

from cli.progress import describe_saved
from cli.runs import add_local_option, add_run_argument, ending_of, opened_run
from cli.screen import Screen

EXAMPLE = """\
example: end a run that has learnt enough; its last checkpoint can be exported
  funcpipe stop first
  funcpipe export first -o weights.safetensors
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "stop",
        help="end a run now",
        description="End a run now and say what of it is saved. The stack stays deployed.",
        epilog=EXAMPLE,
    )
    add_run_argument(parser)
    add_local_option(parser)
    parser.set_defaults(handler=stop)


def stop(args: argparse.Namespace, screen: Screen) -> int:
    from launch.run_records import RunRecords
    from launch.stopping import stop_run

    with opened_run(args) as (entry, store):
        records = RunRecords(store, entry.run)
        at_work = ending_of(entry) is None
        if at_work:
            stop_run(records, entry.execution_arn)
        else:
            records.refresh()
    saved, total = records.committed_iteration, records.manifest.iterations
    what = "stopped; its workers end within seconds" if at_work else "had ended already, so there was nothing to stop"
    screen.result(
        {"run": entry.run, "stopped": at_work, "committed_iteration": saved, "iterations_total": total},
        f"{entry.run}: {what}. {describe_saved(entry.run, saved, total)}",
    )
    return 0
