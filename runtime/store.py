"""Object stores: the contract that workers rely on, and the choice of one by its URL.

An object appears whole or not at all, a GET after a completed PUT sees it, and PUT replaces. That is S3's promise,
and every store here keeps it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from runtime.errors import UserInputError

Body = bytes | bytearray | memoryview


class KeyNotFound(KeyError):
    """GET of a key that holds no object (yet)."""


class Store(ABC):
    """A flat space of named byte strings."""

    @abstractmethod
    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        """Stores ``body``. With ``if_absent``, returns False and changes nothing when the key already holds an object;
        of several concurrent writers exactly one gets True."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The object. Raises KeyNotFound."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes the object; nothing happens when there is none."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, sorted. For people's tools; workers never wait by listing."""


def open_store(url: str) -> Store:
    """The store named by ``file:///absolute/folder`` or ``s3://bucket``.

    Raises:
        UserInputError: another scheme, or no folder or bucket named.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path not in ("", "/"):
        from runtime.store_directory import DirectoryStore

        return DirectoryStore(unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc and parts.path in ("", "/"):
        from runtime.store_s3 import S3Store

        return S3Store(parts.netloc)
    raise UserInputError(f"a store is file:///folder or s3://bucket (given: {url!r})")
