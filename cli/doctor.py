"""``funcpipe doctor``: what is missing before a deployment can succeed, each with its remedy."""

import argparse
import sys
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
    screen.result(document, "\n".join(_lines(checks, failures)))
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


def _lines(checks: "list[Check]", failures: int) -> list[str]:
    signs = _SIGNS if _can_print("".join(_SIGNS.values())) else _ASCII_SIGNS
    sign_width, name_width = max(map(len, signs.values())), max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        begin = f"{signs[check.status]:<{sign_width}} {check.name:<{name_width}} "
        lines += [begin + check.found.replace("\n", "\n" + " " * len(begin))]
        if check.remedy is not None:
            lines.append(" " * len(begin) + check.remedy)
    return [*lines, f"{failures} of {len(checks)} checks failed." if failures else "Nothing is in the way."]


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
