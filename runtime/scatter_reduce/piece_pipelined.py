"""Piece-pipelined scatter-reduce, this project's own. With 2 replicas and 3 pieces, what replica 0 does:

    uplink     1.0  1.1  1.2  m0.0 m0.1 m0.2          1.k    piece k of split 1, for its owner r1
    downlink        0.0  0.1  0.2  m1.0 m1.1 m1.2     m0.k   piece k of split 0, summed, for everybody
    adding              └─ m0.0 ─ m0.1 ─ m0.2

A piece is summed and published as soon as it has come from every replica, while later ones are on their way; the sums
of others are fetched right behind. Both links stay busy from the second piece to the last, IN_FLIGHT requests at a time
hide latency, and the time is that of the bound, 2s(n-1)/(nw), and of one piece and two latencies at either end.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

import torch

from runtime.scatter_reduce.reduction import Reduction, cut


class PiecePipelined(Reduction):
    def start(self, iteration: int, flat: torch.Tensor, present: int) -> Callable[[], int]:
        own, count = self.replica, range(self.pieces)
        split = partial(self.gang.split, iteration, self.bucket)
        merged = partial(self.gang.merged, iteration, self.bucket)
        pieces = [cut(part, self.pieces) for part in self.splits(flat)]
        mask = f"{present:x}"
        # All is requested at once; the lanes take it up in this order. A piece of another's split is overwritten by its
        # sum only after that was formed, so after this replica's own piece has left.
        uploads = [
            self.mail.send_sync(iteration, split(owner, own, k), self.contribution(pieces[owner][k], mask))
            for k in count
            for owner in self.others
        ]
        received = [self.receive_from(iteration, ((s, split(own, s, k)) for s in self.senders)) for k in count]
        sums = deque(
            (pieces[owner][k], self.mail.receive_sync(iteration, merged(owner, k)))
            for k in count
            for owner in self.others
        )

        def finish() -> int:
            union = present
            for k in count:
                union = self.merge(pieces[own][k], received[k], union, consume=True)
                if k == 0:
                    self.publish(iteration)
                uploads.append(self.mail.send_sync(iteration, merged(own, k), self.encoding.encode(pieces[own][k])))
            while sums:
                piece, future = sums.popleft()  # so that what was received is let go at once
                piece.copy_(self.encoding.decode(future.result().bundle))
            for upload in uploads:
                upload.result()
            return union

        return finish

    def published(self, iteration: int, replica: int) -> list[str]:
        return [self.gang.merged(iteration, self.bucket, replica, k) for k in range(self.pieces)]
