"""A store in a local directory: for plain local processes, and for tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from runtime.store import Body, Data, Found, Held, KeyNotFound, Store

_INCOMING = ".incoming"


class DirectoryStore(Store):
    """One file per object. Writers fill a temporary file and move it into place, so readers never see half of one."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._incoming = self.root / _INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") for part in parts) or parts[0] == _INCOMING or "\0" in key:
            raise ValueError(f"not a storable key: {key!r}")
        return self.root.joinpath(*parts)

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        path = self._path(key)
        temporary = self._incoming / uuid4().hex
        with open(temporary, "wb", buffering=0) as file:
            view = memoryview(body).cast("B")
            while view:
                view = view[file.write(view) :]
        path.parent.mkdir(parents=True, exist_ok=True)
        if not if_absent:
            os.replace(temporary, path)
            return True
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        return True

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        try:
            with open(self._path(key), "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if found is not None:
                    found(status.st_mtime)
                data = bytearray(status.st_size)
                view = memoryview(data)
                while view and (count := file.readinto(view)):
                    view = view[count:]
                return data
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise KeyNotFound(key) from None

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def held(self, prefix: str) -> Iterator[Held]:
        found = []
        for folder, folders, files in os.walk(self.root):
            if Path(folder) == self.root and _INCOMING in folders:
                folders.remove(_INCOMING)
            for file in files:
                key = (Path(folder) / file).relative_to(self.root).as_posix()
                if key.startswith(prefix) and (held := self._held(key)):
                    found.append(held)
        return iter(sorted(found, key=lambda held: held.key))

    def _held(self, key: str) -> Held | None:
        try:
            status = self._path(key).stat()
        except FileNotFoundError:  # deleted since the folder was read
            return None
        return Held(key, status.st_size, status.st_mtime)
