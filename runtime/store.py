"""Object stores: the contract that workers rely on.

An object appears whole or not at all, a GET after a completed PUT sees it, and PUT replaces. That is S3's promise,
and every store here keeps it. tests/store_contract.py says it in code.

A store tries each request once. Where it fails in a way that may pass (a connection reset, 500, SlowDown) it raises
TransientError, and ``runtime.store_retries``, the one place of retries, asks again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runtime.errors import FuncpipeError

Body = bytes | bytearray | memoryview
Data = bytes | bytearray
Found = Callable[[float | None], object]


class KeyNotFound(KeyError):
    """GET of a key that holds no object (yet)."""


class TransientError(Exception):
    """The store could not answer now; the same request may succeed later. A PUT or DELETE may have been done."""


class StoreUnavailable(FuncpipeError):
    """A request went on failing until its tries or its time were used up."""


@dataclass(frozen=True)
class Held:
    """An object in a store, without its content."""

    key: str
    bytes: int
    at: float
    """Unix time at which it was last put, by the store's clock."""


class Store(ABC):
    """A flat space of named byte strings. Several threads may use one store."""

    @abstractmethod
    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        """Stores ``body``. With ``if_absent``, returns False and changes nothing when the key already holds an object;
        of several concurrent writers exactly one gets True. ``body`` is read until the call returns, not after."""

    @abstractmethod
    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        """The object, in memory that is the caller's own.

        Args:
            within_s: seconds after which the caller has no more use for it. A store that waits for a network gives up
                then, at its next step.
            found: called when the object is known to be there, before its bytes have come; perhaps more than once. It
                is given the Unix time since when it has been there, or None where the store cannot tell.

        Raises:
            KeyNotFound: there is none.
            StoreUnavailable: it has not come ``within_s``.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes the object; nothing happens when there is none."""

    @abstractmethod
    def held(self, prefix: str) -> Iterator[Held]:
        """The objects whose keys begin with ``prefix``, in the order of their keys. A LIST request."""

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, sorted. For people's tools; workers never wait by listing."""
        return (held.key for held in self.held(prefix))
