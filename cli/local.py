"""``funcpipe local``: the emulator's start, state, end, and commands run against it."""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from localaws import control
from localaws.state import Emulator
from localaws.variables import UNSET, with_emulator
from runtime.errors import FuncpipeError, UserInputError

_NOT_RUNNING = "The local emulator is not running (project folder: {}). Start it with `funcpipe local up`."

_EXAMPLE = """\
example: deploy and train without an account
  funcpipe local up
  funcpipe local exec -- cdk deploy -c manifest=manifest.json -c packaging=zip
  funcpipe start manifest.json --local --wait
  funcpipe local down
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "local",
        help="start and stop the local AWS emulator, and run commands against it",
        description="An AWS on 127.0.0.1 without Docker or an account; its state is in .funcpipe/local of this folder.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    up = _verb(verbs, "up", _up, "start the emulator, ready for cdk deploy", "funcpipe local up")
    up.add_argument(
        "--keep",
        action="store_true",
        help="keep S3's objects on disk: if the emulator dies, the next `up --keep` has them again, and runs can be "
        "resumed when their stack is deployed again",
    )
    _verb(verbs, "status", _status, "say whether the emulator is running", "funcpipe local status --json")
    _verb(verbs, "down", _down, "stop the emulator and forget all it holds", "funcpipe local down")
    _verb(verbs, "env", _env, "print its environment variables for a shell", 'eval "$(funcpipe local env)"; aws s3 ls')
    execute = _verb(
        verbs, "exec", _exec, "run a command against the emulator", "funcpipe local exec -- cdk diff -c manifest=m.json"
    )
    execute.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- CMD ...", help="the command and its arguments"
    )


def _verb(verbs: Any, name: str, handler: Any, text: str, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def running_emulator(project: Path) -> Emulator:
    """The project's emulator. Raises UserInputError when it is not running."""
    emulator = control.status(project)
    if emulator is None:
        raise UserInputError(_NOT_RUNNING.format(project))
    return emulator


def _described(emulator: Emulator) -> dict[str, Any]:
    return {
        "running": True,
        "endpoint": emulator.endpoint,
        "pid": emulator.pid,
        "log": emulator.log,
        "environment": emulator.environment,
        "unset": list(UNSET),
    }


def _up(args: argparse.Namespace, screen: Any) -> int:
    screen.info("starting the local emulator")
    try:
        emulator, started = control.up(Path.cwd(), keep=args.keep)
    except control.EmulatorError as error:
        raise FuncpipeError(str(error)) from None
    verb = "started" if started else "was running already"
    text = f"The local emulator {verb}: {emulator.endpoint} (process {emulator.pid}, log {emulator.log})."
    screen.result({**_described(emulator), "started": started}, text)
    return 0


def _status(args: argparse.Namespace, screen: Any) -> int:
    emulator = control.status(Path.cwd())
    if emulator is None:
        screen.result({"running": False}, _NOT_RUNNING.format(Path.cwd()))
    else:
        text = f"The local emulator is running: {emulator.endpoint} (process {emulator.pid}, log {emulator.log})."
        screen.result(_described(emulator), text)
    return 0


def _down(args: argparse.Namespace, screen: Any) -> int:
    emulator = control.down(Path.cwd())
    stopped = emulator is not None
    screen.result(
        {"stopped": stopped}, "The local emulator was stopped." if stopped else "No local emulator was running."
    )
    return 0


def _env(args: argparse.Namespace, screen: Any) -> int:
    emulator = running_emulator(Path.cwd())
    lines = [f"unset {' '.join(UNSET)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in emulator.environment.items()]
    screen.result(_described(emulator), "\n".join(lines))
    return 0


def _exec(args: argparse.Namespace, screen: Any) -> int:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise UserInputError("No command given. Example: funcpipe local exec -- cdk list -c manifest=manifest.json")
    emulator = running_emulator(Path.cwd())
    environment = with_emulator(os.environ, emulator.environment)
    tools = [str(Path(sys.executable).parent), str(control.HOME / "node_modules" / ".bin")]
    environment["PATH"] = os.pathsep.join([*tools, environment.get("PATH", os.defpath)])
    process = None
    try:
        process = subprocess.Popen(command, env=environment)
        return _exit_status(process.wait())
    except FileNotFoundError:
        raise UserInputError(f"{command[0]}: command not found (PATH: {environment['PATH']}).") from None
    except KeyboardInterrupt:
        # The terminal sent it to the command too: its own answer to it is the answer.
        return _exit_status(process.wait()) if process else 130


def _exit_status(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
