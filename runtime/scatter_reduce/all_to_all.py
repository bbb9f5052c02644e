"""Everybody publishes its whole gradient and reads all others'. With 3 replicas, what replica 0 does:

    uplink    whole 0 ─► inbox
    downlink               whole 1 ◄─ inbox   whole 2 ◄─ inbox

n·s/w + 2·t, and n PUTs where the others have n²: for gradients so small that latency and requests are what counts.
"""

from collections.abc import Callable
from functools import partial

import torch

from runtime.scatter_reduce.reduction import Reduction


class AllToAll(Reduction):
    def start(self, iteration: int, flat: torch.Tensor, present: int) -> Callable[[], int]:
        name = partial(self.gang.whole, iteration, self.bucket)
        upload = self.mail.send_sync(iteration, name(self.replica), self.contribution(flat, f"{present:x}"))
        received = self.receive_from(iteration, ((sender, name(sender)) for sender in self.senders))

        def finish() -> int:
            upload.result()  # from here on ``flat`` may change
            union = self.merge(flat, received, present, consume=False)
            self.publish(iteration)
            return union

        return finish

    def published(self, iteration: int, replica: int) -> list[str]:
        return [self.gang.whole(iteration, self.bucket, replica)]
