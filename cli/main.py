"""The ``funcpipe`` command: finds the subcommand, and turns every outcome into an exit status.

0 done, 1 failed, 2 the user's input cannot be used, 130 Ctrl-C. Subcommands live in one module each, which defines
``add_parser(subparsers)`` and sets ``handler=function(args, screen) -> exit status`` as a default of its parser. Those
modules import nothing heavy at the top, so that ``funcpipe --help`` answers at once.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from cli.screen import Interrupted, Screen
from runtime.errors import FuncpipeError, UserInputError

COMMANDS = (
    "init",
    "profile",
    "calibrate",
    "plan",
    "explain",
    "frontier",
    "compare",
    "diff",
    "schedule",
    "doctor",
    "run",
    "local",
    "start",
    "watch",
    "report",
    "export",
    "stop",
    "chaos",
)

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = "Plan, deploy and run pipelined training of a neural network on serverless functions."

EXAMPLE = """\
example: from a job to trained weights, in plain local processes
  funcpipe init mymodel
  funcpipe plan mymodel/job.toml -o mymodel/manifest.json
  funcpipe run mymodel/manifest.json --run first
  funcpipe export first -o weights.safetensors

`funcpipe COMMAND --help` has an example of each command.
"""


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments as UserInputError, and keeps the layout of examples in help texts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UserInputError(f"{message}\n{self.format_usage().rstrip()}\nSee `{self.prog} --help`.")


def _offer_json(parser: argparse.ArgumentParser) -> None:
    """Gives ``parser`` and all below it the ``--json`` option, unless they have it already."""
    if "--json" not in parser._option_string_actions:
        parser.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print one JSON object on stdout, everything else on stderr",
        )
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _offer_json(child)


def make_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="funcpipe", description=DESCRIPTION, epilog=EXAMPLE)
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"cli.{name}").add_parser(subparsers)
    _offer_json(parser)
    return parser


def _save_traceback() -> str:
    """Writes the current exception's traceback to a file and returns its path."""
    text = traceback.format_exc()
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (Path(".funcpipe", "logs"), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        except OSError:
            continue
        return str(folder / name)
    return "nowhere (neither .funcpipe/logs nor the temporary folder can be written)"


def _run_command(arguments: Sequence[str], screen: Screen) -> int:
    """The exit status of one command line, its errors shown."""
    try:
        args = make_parser().parse_args(arguments)
        screen.json = getattr(args, "json", False)
        return int(args.handler(args, screen))
    except SystemExit as exit_of_help:
        return int(exit_of_help.code or 0)
    except UserInputError as error:
        screen.fail(str(error))
        return BAD_INPUT
    except FuncpipeError as error:
        screen.fail(str(error))
        return FAILED
    except Interrupted as interrupt:
        screen.fail(str(interrupt))
        return INTERRUPTED
    except KeyboardInterrupt:
        screen.fail("interrupted by Ctrl-C; no run was started or stopped.")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # the last resort: a bug must not look like a crash
        place = _save_traceback()
        screen.fail(
            f"unexpected {type(error).__name__}: {error}\n"
            f"This is a bug of funcpipe. The traceback is in {place}; please report it."
        )
        return FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: the process's own) and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        status = _run_command(arguments, Screen(json="--json" in ours))
        sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's shutdown
        return status
    except BrokenPipeError:
        # The reader (head, less) has enough. Without this, the interpreter would complain when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
