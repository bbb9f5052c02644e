"""Object stores: the contract that workers rely on.

An object appears whole or not at all, a GET after a completed PUT sees it, and PUT replaces. That is S3's promise,
and every store here keeps it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

Body = bytes | bytearray | memoryview
Data = bytes | bytearray


class KeyNotFound(KeyError):
    """GET of a key that holds no object (yet)."""


class Store(ABC):
    """A flat space of named byte strings."""

    @abstractmethod
    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        """Stores ``body``. With ``if_absent``, returns False and changes nothing when the key already holds an object;
        of several concurrent writers exactly one gets True."""

    @abstractmethod
    def get(self, key: str) -> Data:
        """The object, in memory that is the caller's own. Raises KeyNotFound."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes the object; nothing happens when there is none."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, sorted. For people's tools; workers never wait by listing."""
