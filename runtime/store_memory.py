"""A store in this process's memory, for tests and for measuring what remains without a file system."""

import threading
from collections.abc import Iterator

from runtime.store import Body, Data, Found, KeyNotFound, Store


class MemoryStore(Store):
    """A dictionary and a lock. Objects are copied on their way in and out, as those of any other store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, bytes] = {}

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        copy = bytes(body)
        with self._lock:
            if if_absent and key in self._objects:
                return False
            self._objects[key] = copy
            return True

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        with self._lock:
            if (held := self._objects.get(key)) is None:
                raise KeyNotFound(key)
        if found is not None:
            found()
        return bytearray(held)

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self._objects if key.startswith(prefix)))
