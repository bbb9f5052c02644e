"""What all benches' command lines have in common."""

import argparse
from collections.abc import Callable

from bench.report import Report

Progress = Callable[[str], None]
Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def at_least(least: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    """A converter of an option's text, which refuses smaller numbers."""

    def convert(text: str) -> float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least:g} (given: {text})")
        return value

    convert.__name__ = kind.__name__
    return convert


def add_bench(
    commands: Commands, name: str, description: str, run: Callable[[argparse.Namespace, Progress], Report], repeats: int
) -> argparse.ArgumentParser:
    """The command ``python -m bench NAME`` with the options that every bench has; ``repeats`` is one's default."""
    command = commands.add_parser(
        name, help=description, epilog=f"example: python -m bench {name} --json > {name}.json"
    )
    command.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    command.add_argument("--repeats", type=at_least(1, int), default=repeats, help="of which medians are taken")
    command.set_defaults(run=run)
    return command
