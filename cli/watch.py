"""``funcpipe watch``: a run's progress until it ends."""

import argparse
from typing import TYPE_CHECKING

from cli.progress import ProgressView, describe_end
from cli.runs import add_local_option, add_run_argument, ending_of, opened_run
from cli.screen import Interrupted, Screen
from runtime.errors import UserInputError

if TYPE_CHECKING:
    from launch.registry import RunEntry
    from runtime.store import Store

_POLL_S = {"local": 0.5, "aws": 2.0}
"""Seconds between two looks at the records. On AWS each look is a few paid requests."""

EXAMPLE = """\
example: follow a run on AWS; Ctrl-C leaves the run going
  funcpipe watch digits-20270101-120000-ab12

exit status: 0 the run is done, 1 it failed or was stopped, 2 there is no such run
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "watch",
        help="show a run's progress until it ends",
        description="Show iterations, loss, segment, workers alive, ETA and USD so far until the run ends. "
        "If a worker failed, show which, where and its traceback.",
        epilog=EXAMPLE,
    )
    add_run_argument(parser)
    add_local_option(parser)
    parser.add_argument("--interval", type=float, metavar="S", help="seconds between two looks (default: 0.5 or 2)")
    parser.set_defaults(handler=watch)


def watch(args: argparse.Namespace, screen: Screen) -> int:
    if args.interval is not None and not 0.1 <= args.interval <= 3600:
        raise UserInputError(f"--interval: 0.1 to 3600 seconds (given: {args.interval})")
    with opened_run(args) as (entry, store):
        return watch_run(entry, store, screen, args.interval)


def watch_run(entry: "RunEntry", store: "Store", screen: Screen, interval: float | None = None) -> int:
    """Shows the run until it ends, then its result. Returns the exit status; Ctrl-C leaves the run going."""
    from launch.following import follow
    from launch.run_records import RunRecords
    from launch.status import RunState, StatusReader

    reader = StatusReader(RunRecords(store, entry.run))
    poll_s = interval or _POLL_S[entry.kind]
    try:
        with ProgressView(screen) as view:
            for status in follow(reader, lambda: ending_of(entry), poll_s=poll_s):
                view.show(status)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped watching; run {entry.run} goes on. `funcpipe watch {entry.run}` shows it again, "
            f"`funcpipe stop {entry.run}` ends it."
        ) from None
    screen.result(status.to_dict(), describe_end(status))
    return 0 if status.state is RunState.DONE else 1
