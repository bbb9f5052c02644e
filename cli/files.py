"""Writing what a command makes."""

import os
from pathlib import Path
from uuid import uuid4

from runtime.errors import UserInputError


def write_text(path: Path, text: str) -> None:
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
        raise UserInputError(f"{path}: cannot be written: {error.strerror}. Name another file with -o.") from None
