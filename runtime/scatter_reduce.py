"""The sum of a stage's gradients over its replicas, through storage (FuncPipe's pipelined scatter-reduce, section 3.3).

Every replica's gradients, as one flat vector, are cut into as many splits as there are replicas; replica r owns split
r. With 3 replicas, what replica 0 does:

    uplink    split 1 ─► r1   split 2 ─► r2            merged 0 ─► inbox
    downlink     split 0 ◄─ r2   split 0 ◄─ r1              merged 1, merged 2 ◄─ inbox
                                          └─ add in replica order ─┘

Uploads and downloads overlap, in rotated order, so that no two replicas want the same one at once. The sum is always
formed in replica order, by one owner: bit-equal on every replica and in every run. Micro-batches' losses are already
weighted with their share of the global batch, so the sum is the mean over the global batch.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import nn

from runtime.codec import Bundle
from runtime.keys import GangKeys
from runtime.mailbox import Received


class Exchange(Protocol):
    """Sending and receiving in the stage's own inbox, several objects at a time."""

    def send_sync(self, iteration: int, key: str, bundle: Bundle) -> None: ...

    def receive_sync(self, iteration: int, key: str) -> "Future[Received]": ...

    def discard(self, key: str) -> None: ...


@dataclass
class ScatterReduce:
    """Replica ``replica`` of ``replicas``; call it once per iteration, on all replicas."""

    exchange: Exchange
    gang: GangKeys
    replica: int
    replicas: int

    def __post_init__(self) -> None:
        self._published: str | None = None

    def __call__(self, iteration: int, parameters: list[nn.Parameter]) -> None:
        """Replaces each parameter's ``grad`` by the sum over all replicas; it stays None where all have None."""
        flat = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).detach().reshape(-1) for p in parameters]
        )
        present = sum(1 << index for index, p in enumerate(parameters) if p.grad is not None)
        for parameter in parameters:
            parameter.grad = None
        present = self._sum(iteration, flat, present)
        offset = 0
        for index, parameter in enumerate(parameters):
            if present >> index & 1:
                parameter.grad = flat[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    def _sum(self, iteration: int, flat: torch.Tensor, present: int) -> int:
        """Sums ``flat`` in place over the replicas; returns the union of their ``present`` masks."""
        own, n = self.replica, self.replicas
        bounds = [len(flat) * index // n for index in range(n + 1)]
        splits = [flat[begin:end] for begin, end in pairwise(bounds)]
        mask = f"{present:x}"

        for step in range(1, n):
            owner = (own + step) % n
            key = self.gang.split(iteration, owner, own)
            self.exchange.send_sync(iteration, key, {"present": mask, "split": splits[owner]})
        senders = [(own - step) % n for step in range(1, n)]
        incoming = {s: self._receive(iteration, self.gang.split(iteration, own, s)) for s in senders}

        total: torch.Tensor | None = None
        for sender in range(n):
            part: torch.Tensor = splits[own]
            if sender != own:
                bundle = self._consume(incoming[sender])
                present |= int(str(bundle["present"]), 16)
                part = bundle["split"]  # type: ignore[assignment]
            total = part.clone() if total is None else total.add_(part)
        # Every other replica has sent its splits of this iteration, so it is done with my merged one of the last.
        self.discard_published()

        self._published = self.gang.merged(iteration, own)
        self.exchange.send_sync(iteration, self._published, {"merged": total})
        merged = [
            (owner, self.exchange.receive_sync(iteration, self.gang.merged(iteration, owner)))
            for owner in ((own + step) % n for step in range(1, n))
        ]
        splits[own].copy_(total)
        for owner, future in merged:
            splits[owner].copy_(future.result().bundle["merged"])  # type: ignore[arg-type]
        return present

    def _receive(self, iteration: int, key: str) -> "tuple[str, Future[Received]]":
        return key, self.exchange.receive_sync(iteration, key)

    def _consume(self, incoming: "tuple[str, Future[Received]]") -> Bundle:
        key, future = incoming
        bundle = future.result().bundle
        self.exchange.discard(key)
        return bundle

    def discard_published(self) -> None:
        """Deletes the merged split that this replica published last; only when every other replica has read it."""
        if self._published is not None:
            self.exchange.discard(self._published)
            self._published = None
