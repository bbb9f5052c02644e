"""Piece-pipelined scatter-reduce, this project's own. With 2 replicas and 3 pieces, what replica 0 does:

    uplink     1.0  1.1  1.2  m0.0 m0.1 m0.2          1.k    piece k of split 1, for its owner r1
    downlink        0.0  0.1  0.2  m1.0 m1.1 m1.2     m0.k   piece k of split 0, summed, for everybody
    adding              └─ m0.0 ─ m0.1 ─ m0.2

A piece is summed and published as soon as it has come from every replica, while later ones are on their way; the sums
of others are fetched right behind. Both links stay busy from the second piece to the last, IN_FLIGHT requests at a time
hide latency, and the time is that of the bound, 2s(n-1)/(nw), and of one piece and two latencies at either end.
"""

from collections import deque

import torch

from runtime.scatter_reduce.reduction import Reduction, cut_pieces


class PiecePipelined(Reduction):
    def add(self, iteration: int, flat: torch.Tensor, present: int) -> int:
        own, gang, count = self.replica, self.gang, range(self.pieces)
        pieces = [list(cut_pieces(split, self.pieces)) for split in self.splits(flat)]
        mask = f"{present:x}"
        # All is requested at once; the lanes take it up in this order. A piece of another's split is overwritten by its
        # sum only after that was formed, so after this replica's own piece has left.
        uploads = [
            self.mail.send_sync(
                iteration, gang.split(iteration, owner, own, k), {"present": mask, "part": pieces[owner][k]}
            )
            for k in count
            for owner in self.others
        ]
        received = [
            self.receive_from(iteration, ((s, gang.split(iteration, own, s, k)) for s in self.senders)) for k in count
        ]
        merged = deque(
            (pieces[owner][k], self.mail.receive_sync(iteration, gang.merged(iteration, owner, k)))
            for k in count
            for owner in self.others
        )
        for k in count:
            present = self.merge(pieces[own][k], received[k], present, consume=True)
            if k == 0:
                self.publish(iteration)
            uploads.append(self.mail.send_sync(iteration, gang.merged(iteration, own, k), {"part": pieces[own][k]}))
        while merged:
            piece, future = merged.popleft()  # so that what was received is let go at once
            piece.copy_(future.result().bundle["part"])  # type: ignore[arg-type]
        for upload in uploads:
            upload.result()
        return present

    def published(self, iteration: int, replica: int) -> list[str]:
        return [self.gang.merged(iteration, replica, k) for k in range(self.pieces)]
