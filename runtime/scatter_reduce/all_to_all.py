"""Everybody publishes its whole gradient and reads all others'. With 3 replicas, what replica 0 does:

    uplink    whole 0 ─► inbox
    downlink               whole 1 ◄─ inbox   whole 2 ◄─ inbox

n·s/w + 2·t, and n PUTs where the others have n²: for gradients so small that latency and requests are what counts.
"""

import torch

from runtime.scatter_reduce.reduction import Reduction


class AllToAll(Reduction):
    def add(self, iteration: int, flat: torch.Tensor, present: int) -> int:
        whole = self.gang.whole
        upload = self.mail.send_sync(
            iteration, whole(iteration, self.replica), {"present": f"{present:x}", "part": flat}
        )
        received = self.receive_from(iteration, ((s, whole(iteration, s)) for s in self.senders))
        upload.result()  # from here on ``flat`` may change
        present = self.merge(flat, received, present, consume=False)
        self.publish(iteration)
        return present

    def published(self, iteration: int, replica: int) -> list[str]:
        return [self.gang.whole(iteration, replica)]
