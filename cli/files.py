"""Writing what a command makes."""

import os
from pathlib import Path
from uuid import uuid4

from runtime.errors import UserInputError
from runtime.source import would_ship


def check_output(path: Path, source: Path, option: str = "-o") -> None:
    """Raises UserInputError when a file at ``path`` would ship with the model's code, and so make it other code."""
    if would_ship(source, path):
        raise UserInputError(
            f"{path}: lies in the source folder {source}, where it would ship and change what the plan was made for. "
            f"Name another place with {option}, for example {source / 'build' / path.name}: build does not ship."
        )


def write_text(path: Path, text: str, option: str = "-o") -> None:
    """Replaces ``path`` by ``text``, whole or not at all; makes its folder where needed.

    Raises:
        UserInputError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "Is a directory")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
        raise UserInputError(f"{path}: cannot be written: {error.strerror}. Name another file with {option}.") from None
