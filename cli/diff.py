"""``funcpipe diff``: what differs between two plans."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from cli.screen import Screen
    from planner.difference import Difference

EXAMPLE = """\
example:
  funcpipe diff build/cheap.json build/fast.json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "diff",
        help="show what differs between two manifests, and their predictions",
        description="Compares two manifests key by key, and what is predicted of them.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.set_defaults(handler=diff)


def diff(args: argparse.Namespace, screen: "Screen") -> int:
    from planner.difference import difference
    from runtime.manifest import load_manifest

    found = difference(load_manifest(args.before), load_manifest(args.after))
    screen.result(asdict(found), _view(found))
    return 0


def _view(found: "Difference") -> "Group":
    from rich.console import Group

    from cli.tables import FittingTable

    lines = [
        f"predicted {name}: {'from 0' if ratio is None else f'{ratio - 1:+.1%}'}"
        for name, ratio in found.ratios.items()
        if ratio != 1.0
    ] or ["the predictions are the same"]
    other = [name for name, same in found.same_inputs.items() if not same]
    if other:
        lines.append(f"made from another {', another '.join(other)}")
    if not found.changes:
        return Group("the plans are the same", *lines)
    table = FittingTable()
    for heading in ("key", "before", "after"):
        table.add_column(heading, overflow="fold")
    for change in found.changes:
        table.add_row(change.key, _shown(change.before), _shown(change.after))
    return Group(table, *lines)


def _shown(value: object) -> str:
    return "" if value is None else str(value)
