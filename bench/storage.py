"""Where a bench keeps its objects: folders, or buckets of an emulator that the bench starts; both end with it.

boto3 is imported by those who use buckets only: workers of a local run have none of it in their memory, and a bench's
should not either.
"""

import argparse
import itertools
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from localaws import control
from localaws.state import Emulator
from runtime.errors import FuncpipeError
from runtime.store import Store
from runtime.store_directory import DirectoryStore


class StoreKind(StrEnum):
    DIRECTORY = "directory"
    EMBEDDED = "embedded"
    """S3 on the embedded AWS (``localaws``)."""


IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 << 30
"""Free in it, at least: what sums over 8 replicas hold, twice."""


def folders_parent() -> Path | None:
    """Where folders are made: in memory, where the system has such a place with enough room, else among its temporary
    files (None). A disk would be measured along with the links: 8 workers that write 8 MiB each at once wait for it."""
    if not os.access(IN_MEMORY, os.W_OK) or shutil.disk_usage(IN_MEMORY).free < ROOM_BYTES:
        return None
    return IN_MEMORY


class Space(ABC):
    """A store of the bench's own, as it is told to other processes."""

    @abstractmethod
    def open(self) -> Store:
        """The store, in the process that asks."""


@dataclass(frozen=True)
class Folder(Space):
    path: str

    def open(self) -> Store:
        return DirectoryStore(self.path)


@dataclass(frozen=True)
class Bucket(Space):
    name: str
    emulator: Emulator

    @property
    def client(self) -> Any:
        return _client(self.emulator)

    def open(self) -> Store:
        from runtime.store_s3 import S3Store

        return S3Store(self.name, self.client)


@cache
def _client(emulator: Emulator) -> Any:
    """A process's one client of an emulator: the runtime's settings, none of the user's."""
    import boto3
    from botocore.config import Config

    from runtime.store_s3 import CLIENT_CONFIG

    variables = emulator.environment
    return boto3.client(
        "s3",
        endpoint_url=emulator.endpoint,
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        config=CLIENT_CONFIG.merge(Config(proxies={})),
    )


class Storage(ABC):
    """What spaces are made of."""

    place: str
    """Where objects are, for a report."""

    @abstractmethod
    def space(self) -> AbstractContextManager[Space]:
        """A new, empty one; it and all that is in it goes when the context ends."""


class Directories(Storage):
    """Folders in ``parent``, or where the system has its temporary files."""

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent
        self.place = "memory" if parent == IN_MEMORY else "files"

    @contextmanager
    def space(self) -> Iterator[Space]:
        with tempfile.TemporaryDirectory(prefix="funcpipe-bench-", dir=self._parent) as folder:
            yield Folder(folder)


class EmbeddedAws(Storage):
    """Buckets of a running emulator."""

    place = "emulator"

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._numbers = emulator, itertools.count()

    @contextmanager
    def space(self) -> Iterator[Space]:
        bucket = Bucket(f"bench-{next(self._numbers)}", self._emulator)
        bucket.client.create_bucket(Bucket=bucket.name)
        try:
            yield bucket
        finally:
            store = bucket.open()
            for key in list(store.list("")):
                store.delete(key)
            bucket.client.delete_bucket(Bucket=bucket.name)


@contextmanager
def open_storage(kind: StoreKind, folders_in: Path | None = None) -> Iterator[Storage]:
    """Storage of that kind, folders in ``folders_in`` or ``folders_parent()``. An emulator runs in a folder of its own
    and ends with the context, however that ends.

    Raises:
        FuncpipeError: the emulator did not start.
    """
    if kind is StoreKind.DIRECTORY:
        yield Directories(folders_in or folders_parent())
        return
    with tempfile.TemporaryDirectory(prefix="funcpipe-bench-") as folder:
        project = Path(folder)
        try:
            try:
                emulator, _ = control.up(project, bootstrap=False, bound=True)
            except control.EmulatorError as error:
                raise FuncpipeError(str(error)) from error
            yield EmbeddedAws(emulator)
        finally:
            control.down(project)


def add_store_option(command: argparse.ArgumentParser) -> None:
    """``--store``."""
    command.add_argument(
        "--store",
        type=StoreKind,
        choices=list(StoreKind),
        default=StoreKind.DIRECTORY,
        help="where objects are; embedded: S3 of an emulator started for the bench, whose own limits are then measured "
        "too, and no goals hold",
    )
