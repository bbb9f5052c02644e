"""What all algorithms have in common: who turns to whom, the order of additions, and what is left to delete."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import torch

from runtime.codec import Outgoing
from runtime.keys import GangKeys
from runtime.mailbox import Received
from runtime.scatter_reduce.contribution import Aggregation, Encoding


class Mail(Protocol):
    """Sending and receiving in the stage's own inbox, several objects at a time; ``runtime.lanes.Lanes`` is one."""

    def send_sync(self, iteration: int, key: str, bundle: Outgoing) -> "Future[None]": ...

    def receive_sync(self, iteration: int, key: str) -> "Future[Received]": ...

    def in_turn(self, task: Callable[[], int]) -> "Future[int]":
        """Runs tasks one after the other, in the order of the calls, beside the calling thread."""

    def discard(self, key: str) -> None: ...


Awaited = dict[int, tuple[str, "Future[Received]"]]
"""Name and arrival of an object, by its sender."""


@dataclass
class Reduction(ABC):
    """Sums one bucket as replica ``replica`` of ``replicas``; ``start`` is called once per iteration, on all of them.

    The sum is formed in the order of the replicas, whatever arrives first: bit-equal on every replica, in every run and
    for every algorithm. What one other replica reads, that one deletes. What all others read stays until all have been
    heard from in the next iteration (then they are done with it), or until the segment's end.

    Args:
        bucket: number of the bucket.
        pieces: of each split; algorithms that send whole splits do not use it.
        encoding: of every part on the wire; what is given to ``start`` is settled.
        aggregate: what the owner of a split makes of its parts.
    """

    mail: Mail
    gang: GangKeys
    bucket: int
    replica: int
    replicas: int
    pieces: int
    encoding: Encoding
    aggregate: Aggregation
    _published: list[str] = field(default_factory=list, init=False)

    @abstractmethod
    def start(self, iteration: int, flat: torch.Tensor, present: int) -> Callable[[], int]:
        """Sends and requests at once what waits for nothing.

        Returns:
            The rest: replaces ``flat`` by its sum over the replicas and returns the union of their ``present`` bits.
            It may wait for the other replicas; so of several buckets the rests are called in the order of the starts,
            which must be the same on all replicas.
        """

    @abstractmethod
    def published(self, iteration: int, replica: int) -> list[str]:
        """Objects for all others that ``replica`` leaves in the inbox at the end of an iteration."""

    @property
    def others(self) -> list[int]:
        """The other replicas in rotated order, so that no two replicas turn to the same one at once."""
        return [(self.replica + step) % self.replicas for step in range(1, self.replicas)]

    @property
    def senders(self) -> list[int]:
        """The other replicas in the order in which their rotation comes to this one."""
        return [(self.replica - step) % self.replicas for step in range(1, self.replicas)]

    def splits(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Views of the parts of ``flat``, by owner."""
        return cut(flat, self.replicas)

    def contribution(self, part: torch.Tensor, mask: str) -> Outgoing:
        """What an owner gets of this replica."""
        return {"present": mask, **self.encoding.encode(part)}

    def receive_from(self, iteration: int, names: Iterable[tuple[int, str]]) -> Awaited:
        """Requests one object of each sender."""
        return {sender: (name, self.mail.receive_sync(iteration, name)) for sender, name in names}

    def merge(self, own: torch.Tensor, received: Awaited, present: int, consume: bool) -> int:
        """Replaces ``own`` by the settled aggregate of it and what was ``received``.

        Returns:
            ``present`` and the senders' own.

        Args:
            consume: delete each object once it is read.
        """
        union = present

        def parts() -> Iterator[torch.Tensor]:
            nonlocal union
            for sender in range(self.replicas):
                if sender == self.replica:
                    yield own
                    continue
                name, future = received.pop(sender)
                bundle = future.result().bundle
                union |= int(str(bundle["present"]), 16)
                if consume:
                    self.mail.discard(name)
                yield self.encoding.decode(bundle)

        result = self.aggregate(parts())
        if result is not own:
            own.copy_(result)
        self.encoding.settle(own)
        return union

    def publish(self, iteration: int) -> None:
        """Every other replica has been heard from in this iteration: what it read in the last one is of no more use."""
        for name in self._published:
            self.mail.discard(name)
        self._published = self.published(iteration, self.replica)


def cut(flat: torch.Tensor, parts: int) -> list[torch.Tensor]:
    """Views of ``parts`` consecutive parts, as even as can be."""
    bounds = [len(flat) * index // parts for index in range(parts + 1)]
    return [flat[begin:end] for begin, end in pairwise(bounds)]
