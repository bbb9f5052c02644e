"""``funcpipe stop``: ends a run now."""

import argparse
from typing import TYPE_CHECKING

from cli.progress import describe_saved
from cli.runs import add_local_option, add_run_argument, ending_of, opened_run
from cli.screen import Screen
from runtime.errors import UserInputError

if TYPE_CHECKING:
    from launch.registry import RunEntry

EXAMPLE = """\
example: end a run that has learnt enough; its last checkpoint can be exported
  funcpipe stop first --save
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
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--save", action="store_true", help="let it finish the iterations under way and write a checkpoint first"
    )
    how.add_argument(
        "--kill",
        action="store_true",
        help="also set the functions' reserved concurrency to 0: nothing starts one until the next `funcpipe start`",
    )
    add_local_option(parser)
    parser.set_defaults(handler=stop)


def stop(args: argparse.Namespace, screen: Screen) -> int:
    from launch.run_records import RunRecords
    from launch.stopping import save_and_stop, stop_run

    with opened_run(args) as (entry, store):
        if args.kill:
            _close_functions(entry)
        records = RunRecords(store, entry.run)
        at_work = ending_of(entry) is None
        if at_work and args.save:
            save_and_stop(store, entry.run)
        elif at_work:
            stop_run(records, entry.execution_arn)
        records.refresh()
    saved, total = records.committed_iteration, records.manifest.iterations
    facts = {"run": entry.run, "stopped": at_work, "committed_iteration": saved, "iterations_total": total}
    if at_work and args.save:
        watch = f"funcpipe watch {entry.run}{' --local' if args.local else ''}"
        screen.result(
            {**facts, "saving": True},
            f"{entry.run}: asked to end after a checkpoint; `{watch}` shows it. {saved} of {total} iterations are "
            "saved so far.",
        )
        return 0
    what = "stopped; its workers end within seconds" if at_work else "had ended already, so there was nothing to stop"
    closed = " Its functions' concurrency is 0 until the next `funcpipe start`." if args.kill else ""
    screen.result(facts, f"{entry.run}: {what}.{closed} {describe_saved(entry.run, saved, total)}")
    return 0


def _close_functions(entry: "RunEntry") -> None:
    from launch.deployment import stage_functions
    from launch.killing import close_functions

    if entry.stack is None:
        raise UserInputError(
            f"run {entry.run!r} trains in plain local processes, which have no functions to close. Leave --kill out."
        )
    close_functions(stage_functions(entry.stack))
