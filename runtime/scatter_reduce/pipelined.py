"""FuncPipe's pipelined scatter-reduce (arXiv 2204.13561, section 3.3). With 3 replicas, what replica 0 does:

    uplink    split 1 ─► r1   split 2 ─► r2                  merged 0 ─► inbox
    downlink                  split 0 ◄─ r2   split 0 ◄─ r1                      merged 1, merged 2 ◄─ inbox
                                                        └─ add in replica order

One upload after the other, in rotated order; while one is under way, the split that came in the step before is fetched.
2s/w + (2 + n)·t.
"""

from collections.abc import Callable
from functools import partial

import torch

from runtime.scatter_reduce.reduction import Awaited, Reduction


class Pipelined(Reduction):
    def start(self, iteration: int, flat: torch.Tensor, present: int) -> Callable[[], int]:
        # Every upload waits for the one before it, so nothing is sent ahead.
        return lambda: self._add(iteration, flat, present)

    def _add(self, iteration: int, flat: torch.Tensor, present: int) -> int:
        splits, own = self.splits(flat), self.replica
        merged = partial(self.gang.merged, iteration, self.bucket)
        received = self._exchange(iteration, splits, f"{present:x}")
        present = self.merge(splits[own], received, present, consume=True)
        self.publish(iteration)
        # The others are about as far: asked for sooner, their sums would not be there yet.
        self.mail.send_sync(iteration, merged(own), self.encoding.encode(splits[own])).result()
        sums = [(owner, self.mail.receive_sync(iteration, merged(owner))) for owner in self.others]
        for owner, future in sums:
            splits[owner].copy_(self.encoding.decode(future.result().bundle))
        return present

    def _split(self, iteration: int, owner: int, sender: int) -> str:
        return self.gang.split(iteration, self.bucket, owner, sender)

    def _exchange(self, iteration: int, splits: list[torch.Tensor], mask: str) -> Awaited:
        """Sends all others their splits, and requests the own one of each of them."""
        received: Awaited = {}
        for owner, sender in zip(self.others, self.senders, strict=True):
            name = self._split(iteration, owner, self.replica)
            self.mail.send_sync(iteration, name, self.contribution(splits[owner], mask)).result()
            # Now the sender, which is as far in its own rotation, has put what is due to this replica.
            received |= self.receive_from(iteration, [(sender, self._split(iteration, self.replica, sender))])
        return received

    def published(self, iteration: int, replica: int) -> list[str]:
        return [self.gang.merged(iteration, self.bucket, replica)]
