"""FuncPipe's pipelined scatter-reduce (arXiv 2204.13561, section 3.3). With 3 replicas, what replica 0 does:

    uplink    split 1 ─► r1   split 2 ─► r2            merged 0 ─► inbox
    downlink     split 0 ◄─ r2   split 0 ◄─ r1              merged 1, merged 2 ◄─ inbox
                                          └─ add in replica order ─┘

Uploads and downloads overlap. 2s/w + (2 + n)·t.
"""

from concurrent.futures import Future

import torch

from runtime.scatter_reduce.reduction import Reduction


class Pipelined(Reduction):
    def add(self, iteration: int, flat: torch.Tensor, present: int) -> int:
        splits, own, gang = self.splits(flat), self.replica, self.gang
        uploads = [
            self.mail.send_sync(
                iteration, gang.split(iteration, owner, own), {"present": f"{present:x}", "part": splits[owner]}
            )
            for owner in self.others
        ]
        self._end_phase(uploads)
        received = self.receive_from(iteration, ((s, gang.split(iteration, own, s)) for s in self.senders))
        present = self.merge(splits[own], received, present, consume=True)

        self.publish(iteration)
        uploads.append(self.mail.send_sync(iteration, gang.merged(iteration, own), {"part": splits[own]}))
        self._end_phase(uploads)
        merged = [(owner, self.mail.receive_sync(iteration, gang.merged(iteration, owner))) for owner in self.others]
        for owner, future in merged:
            splits[owner].copy_(future.result().bundle["part"])  # type: ignore[arg-type]
        for upload in uploads:
            upload.result()
        return present

    def _end_phase(self, uploads: "list[Future[None]]") -> None:
        """Between uploads and the downloads that follow them: nothing, they overlap."""

    def published(self, iteration: int, replica: int) -> list[str]:
        return [self.gang.merged(iteration, replica)]
