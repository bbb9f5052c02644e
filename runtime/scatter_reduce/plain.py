"""LambdaML's scatter-reduce (arXiv 2105.07806), one phase after the other. With 3 replicas, what replica 0 does:

    uplink    split 1 ─► r1   split 2 ─► r2                                merged 0 ─► inbox
    downlink                                 split 0 ◄─ r2   split 0 ◄─ r1                   merged 1, merged 2 ◄─ inbox

Within a phase requests are made at once: 3s/w - 2s/(nw) + 4·t. Where s/(nw) < t that is less than the pipelined one's.
"""

import torch

from runtime.scatter_reduce.pipelined import Pipelined
from runtime.scatter_reduce.reduction import Awaited


class Plain(Pipelined):
    def _exchange(self, iteration: int, splits: list[torch.Tensor], mask: str) -> Awaited:
        uploads = [
            self.mail.send_sync(
                iteration, self._split(iteration, owner, self.replica), self.contribution(splits[owner], mask)
            )
            for owner in self.others
        ]
        for upload in uploads:
            upload.result()
        return self.receive_from(iteration, ((s, self._split(iteration, self.replica, s)) for s in self.senders))
