"""Which files of the user's source folder ship with the workers, and the digest that names them."""

import hashlib
from pathlib import Path

from runtime.errors import UserInputError

SKIPPED_FOLDERS = frozenset({"__pycache__", "build", "cdk.out", "node_modules"})
SKIPPED_SUFFIXES = (".pyc", ".toml", "manifest.json", "profile.json", "platform.json")
"""Compiled code, and what funcpipe itself reads and writes beside the model."""


def _skips(name: str, is_folder: bool) -> bool:
    return name.startswith(".") or (name in SKIPPED_FOLDERS if is_folder else name.endswith(SKIPPED_SUFFIXES))


def would_ship(folder: Path, path: Path) -> bool:
    """Whether a file at ``path``, which need not exist, is or would be one of ``source_files(folder)``."""
    place, root = path.resolve(), folder.resolve()
    if not place.is_relative_to(root) or place == root:
        return False
    *folders, name = place.relative_to(root).parts
    return not _skips(name, False) and not any(_skips(part, True) for part in folders)


def source_files(folder: Path) -> list[Path]:
    """The files that ship, relative to ``folder``, sorted; hidden ones and links do not.

    Raises:
        UserInputError: ``folder`` is no folder.
    """
    if not folder.is_dir():
        raise UserInputError(f"{folder}: the package's source folder does not exist. Correct package.source.")

    def walk(place: Path) -> list[Path]:
        found: list[Path] = []
        for entry in place.iterdir():
            if entry.is_symlink() or _skips(entry.name, entry.is_dir()):
                continue
            if entry.is_dir():
                found += walk(entry)
            else:
                found.append(entry.relative_to(folder))
        return found

    return sorted(walk(folder), key=lambda path: path.as_posix())


def source_sha256(folder: Path) -> str:
    """Digest of the names and contents of ``source_files(folder)``."""
    digest = hashlib.sha256()
    for path in source_files(folder):
        content = (folder / path).read_bytes()
        digest.update(f"{len(path.as_posix())} {path.as_posix()} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def check_source(folder: Path, planned_sha256: str) -> None:
    """Refuses a source folder that is not the one planned for.

    Raises:
        UserInputError: ``folder`` is missing, or its files have changed since the plan was made.
    """
    if (found := source_sha256(folder)) != planned_sha256:
        raise UserInputError(
            f"{folder}: the source has changed since the plan was made (SHA-256: {found}, planned: {planned_sha256}). "
            "Plan again with `funcpipe plan`."
        )
