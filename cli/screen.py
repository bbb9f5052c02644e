"""What a command shows: progress and results for people, or one JSON object on stdout for programs."""

import json
import math
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich takes 0.1 s to import, which `funcpipe --help` need not wait for
    from rich.console import Console, RenderableType

WIDTH_OF_A_FILE = 120
"""Columns when the output is no terminal and COLUMNS is not set."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """``text`` without control characters but line ends and tabs: a worker's message must not drive the terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def _finite(value: Any) -> Any:
    """``value`` with NaN and infinities as None: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class Screen:
    """Standard output and standard error of one command.

    With ``json``, stdout receives exactly one object (``result`` or ``fail``) and everything else goes to stderr.
    """

    def __init__(self, json: bool = False) -> None:
        self.json = json
        self._result_shown = False

    def _console(self, stderr: bool) -> "Console":
        from rich.console import Console

        console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = WIDTH_OF_A_FILE
        return console

    @cached_property
    def _out(self) -> "Console":
        return self._console(stderr=False)

    @cached_property
    def _err(self) -> "Console":
        return self._console(stderr=True)

    @property
    def progress_console(self) -> "Console":
        """Where progress goes: stdout, unless that belongs to the JSON object."""
        return self._err if self.json else self._out

    @property
    def columns(self) -> int | None:
        """What text on stdout should be wrapped to; None where lines may be as long as they are, as in a file."""
        return self._out.width if self._out.is_terminal or "COLUMNS" in os.environ else None

    def info(self, text: str) -> None:
        """A line about what is going on, on stderr."""
        self._err.print(printable(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line about something that deserves attention, on stderr."""
        self._err.print(f"warning: {printable(text)}", soft_wrap=True, style="yellow")

    def result(self, document: dict[str, Any], text: "RenderableType") -> None:
        """The command's answer: ``document`` with ``--json``, else ``text`` (a string or anything rich can draw)."""
        if self.json:
            self._print_json(document)
        elif isinstance(text, str):
            self._out.print(printable(text), soft_wrap=True)
        else:
            self._out.print(text)

    def fail(self, message: str) -> None:
        """Why the command did not do what was asked: on stderr, and as ``{"error": …}`` when JSON was asked for."""
        if self.json and not self._result_shown:
            self._print_json({"error": message})
        self._err.print(f"error: {printable(message)}", soft_wrap=True, style="red")

    def _print_json(self, document: dict[str, Any]) -> None:
        if self._result_shown:
            raise RuntimeError("a command printed two JSON objects")
        self._result_shown = True
        print(json.dumps(_finite(document), allow_nan=False), flush=True)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a message that says what became of the run."""
