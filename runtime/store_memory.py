"""A store in this process's memory, for tests and for measuring what remains without a file system."""

import threading
import time
from collections.abc import Iterator

from runtime.store import Body, Data, Found, Held, KeyNotFound, Store


class MemoryStore(Store):
    """A dictionary and a lock. Objects are copied on their way in and out, as those of any other store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, float]] = {}
        """Content, and Unix time of the PUT."""

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        copy = bytes(body)
        with self._lock:
            if if_absent and key in self._objects:
                return False
            self._objects[key] = copy, time.time()
            return True

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        with self._lock:
            if (held := self._objects.get(key)) is None:
                raise KeyNotFound(key)
        if found is not None:
            found(held[1])
        return bytearray(held[0])

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)

    def held(self, prefix: str) -> Iterator[Held]:
        with self._lock:
            found = [(key, body, at) for key, (body, at) in self._objects.items() if key.startswith(prefix)]
        return (Held(key, len(body), at) for key, body, at in sorted(found, key=lambda item: item[0]))
