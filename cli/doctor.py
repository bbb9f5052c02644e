"""``funcpipe doctor``: what is missing before a deployment can succeed, each with its remedy."""

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from cli.runs import add_local_option, aws_environment
from cli.screen import Screen

if TYPE_CHECKING:
    from launch.preflight import Check
    from runtime.manifest import Manifest

EXAMPLE = """\
example: before the first deployment of a plan
  funcpipe doctor mymodel/manifest.json
"""

_SIGNS = {"ok": "\N{HEAVY CHECK MARK}", "failed": "\N{HEAVY BALLOT X}", "skipped": "-"}
_LEAST_COLUMNS = 50
"""Room that words should have beside the names of checks."""
_ASCII_SIGNS = {"ok": "ok", "failed": "FAILED", "skipped": "-"}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine, the account and a plan before a deployment",
        description="Look at the versions of the tools, credentials, CDK bootstrap and account quotas, and whether "
        "MANIFEST fits them. Only reads. Exit status 1 when a check fails.",
        epilog=EXAMPLE,
    )
    parser.add_argument("manifest", type=Path, nargs="?", metavar="MANIFEST", help="the plan to be deployed")
    parser.add_argument(
        "--packaging",
        choices=("image", "zip", "prebuilt"),
        help="as it will be deployed; prebuilt: with -c image=URI (default: image, with --local zip)",
    )
    parser.add_argument("--stack", metavar="NAME", help="name of the stack (default: funcpipe-<job name>)")
    add_local_option(parser)
    parser.set_defaults(handler=doctor)


def doctor(args: argparse.Namespace, screen: Screen) -> int:
    from launch.machine_checks import machine_checks
    from launch.plan_checks import plan_checks

    packaging = args.packaging or ("zip" if args.local else "image")
    manifest, of_the_plan = plan_checks(args.manifest)
    checks = [*machine_checks(docker=packaging == "image"), *of_the_plan, *_account(args, manifest)]
    failures = sum(check.status == "failed" for check in checks)
    document = {"ok": not failures, "checks": [check.to_dict() for check in checks]}
    screen.result(document, "\n".join(_lines(checks, failures, screen.columns)))
    return 1 if failures else 0


def _account(args: argparse.Namespace, manifest: "Manifest | None") -> "list[Check]":
    from launch.account_checks import account_checks
    from launch.preflight import failed
    from runtime.errors import UserInputError

    try:
        with aws_environment(args.local):
            return account_checks(manifest, args.stack)
    except UserInputError as error:  # the emulator does not run
        return [failed("embedded AWS", str(error), "funcpipe local up")]


def _lines(checks: "list[Check]", failures: int, columns: int | None) -> list[str]:
    """Wrapped to so many columns; where that leaves little room beside the names, the words stand below them."""
    signs = _SIGNS if _can_print("".join(_SIGNS.values())) else _ASCII_SIGNS
    sign_width, name_width = max(map(len, signs.values())), max(len(check.name) for check in checks)
    beside = sign_width + name_width + 2
    below = columns is not None and columns - beside < _LEAST_COLUMNS
    indent = sign_width + 1 if below else beside
    lines = []
    for check in checks:
        begin = f"{signs[check.status]:<{sign_width}} {check.name}"
        words = _wrapped(check.found, columns and columns - indent)
        if below:
            lines.append(begin)
        else:
            lines.append(f"{begin:<{beside}}{words.pop(0)}")
        words += _wrapped(check.remedy or "", columns and columns - indent)
        lines += [" " * indent + line for line in words if line]
    return [*lines, f"{failures} of {len(checks)} checks failed." if failures else "Nothing is in the way."]


def _wrapped(text: str, columns: int | None) -> list[str]:
    """At spaces alone, so that a command or a URL can be copied."""
    if columns is None:
        return text.split("\n")
    width = max(columns, 1)
    return [
        part
        for line in text.split("\n")
        for part in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
    ]


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
