"""A stage's gradients as flat buckets, summed over its replicas while backward still goes on, and back.

    backward of the last micro-batch    layer 5 ─ layer 4 ─ layer 3 ─ layer 2 ─ layer 1 ─ layer 0
    bucket 0                                          └─ sum ─────────────┐
    bucket 1                                                          └───┴─ sum ──────────┐
    bucket 2                                                                               └─ sum ─┤ step

The parameters' gradients lie one behind the other, the last parameter's first, and are cut evenly into buckets. A
bucket's sum starts when all of it is final and the buckets before it have started: so on all replicas in one order.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from runtime.errors import FuncpipeError
from runtime.keys import GangKeys
from runtime.manifest import StageSynchronisation
from runtime.scatter_reduce.all_to_all import AllToAll
from runtime.scatter_reduce.contribution import EXACT, Dense, total
from runtime.scatter_reduce.piece_pipelined import PiecePipelined
from runtime.scatter_reduce.pipelined import Pipelined
from runtime.scatter_reduce.plain import Plain
from runtime.scatter_reduce.reduction import Mail, Reduction, cut
from runtime.synchronisation import Algorithm, bucket_count, piece_count

REDUCTIONS: dict[Algorithm, type[Reduction]] = {
    Algorithm.PLAIN: Plain,
    Algorithm.PIPELINED: Pipelined,
    Algorithm.PIECE_PIPELINED: PiecePipelined,
    Algorithm.ALL_TO_ALL: AllToAll,
}


@dataclass
class _Bucket:
    """Args: flat: its part of the gradients; members: numbers of the parameters that reach into it."""

    flat: torch.Tensor
    reduction: Reduction
    members: list[int] = field(default_factory=list)


@dataclass
class _Round:
    """What is known of one iteration's gradients."""

    iteration: int
    missing: list[int]
    """By bucket: members whose gradient may still change."""
    present: dict[int, bool] = field(default_factory=dict)
    """By parameter whose gradient is final: whether it has one here."""
    sums: list["Future[int]"] = field(default_factory=list)
    """By bucket that has started."""


class GradientSum:
    """Call it once per iteration, on every replica of the stage; ``begin`` lets it do most of it beforehand.

    Micro-batches' losses are already weighted with their share of the global batch, so the sum is the mean over the
    global batch.

    Args:
        mail: the stage's own inbox.
        parameters: the stage's trainable ones, the same on every replica.
        encoding: of what travels.
    """

    def __init__(
        self,
        mail: Mail,
        gang: GangKeys,
        *,
        settings: StageSynchronisation,
        replica: int,
        replicas: int,
        parameters: list[nn.Parameter],
        encoding: Dense = EXACT,
    ) -> None:
        self._mail, self._parameters = mail, parameters[::-1]
        ends = list(accumulate(p.numel() for p in self._parameters))
        flat = torch.empty(ends[-1], dtype=parameters[0].dtype) if parameters else torch.empty(0)
        self._parts = [flat[end - p.numel() : end] for p, end in zip(self._parameters, ends, strict=True)]
        size = flat.numel() * (encoding.dtype or flat.dtype).itemsize
        count, make = bucket_count(size, settings.bucket_bytes), REDUCTIONS[settings.algorithm]
        pieces = piece_count(-(-size // count), replicas, settings.piece_bytes)
        self._buckets = [
            _Bucket(part, make(mail, gang, number, replica, replicas, pieces, encoding, total))
            for number, part in enumerate(cut(flat, count))
        ]
        self._reach = self._reaches(ends)
        self._round: _Round | None = None
        self._early = [False] * len(parameters)
        """By parameter: its gradient is final as soon as a backward pass has added to it, as the first one showed."""
        self._additions: Counter[int] | None = Counter()
        """Of the first backward pass, which is watched; then None."""
        self._hooks: list[RemovableHandle] = []

    def _reaches(self, ends: list[int]) -> list[range]:
        """By parameter: numbers of the buckets that it reaches into, one at least; enters it there."""
        starts = [0, *accumulate(len(bucket.flat) for bucket in self._buckets)][:-1]
        reaches = []
        for index, (parameter, end) in enumerate(zip(self._parameters, ends, strict=True)):
            begin = end - parameter.numel()
            first = bisect_right(starts, begin) - 1
            reach = range(first, max(first + 1, bisect_right(starts, end - 1)))
            reaches.append(reach)
            for bucket in reach:
                self._buckets[bucket].members.append(index)
        return reaches

    def begin(self, iteration: int) -> None:
        """Says that the next backward pass is the iteration's last one: what it has added to is final."""
        self._round = _Round(iteration, [len(bucket.members) for bucket in self._buckets])
        self._hooks = [
            p.register_post_accumulate_grad_hook(partial(self._added, self._round, index))
            for index, p in enumerate(self._parameters)
        ]

    def __call__(self, iteration: int) -> None:
        """Replaces each parameter's ``grad`` by the sum over all replicas; it stays None where all have None."""
        if self._round is None:
            self.begin(iteration)
        now, self._round = self._round, None
        assert now is not None and now.iteration == iteration
        for hook in self._hooks:
            hook.remove()
        if self._additions:
            self._early = [self._additions[index] == 1 for index in range(len(self._parameters))]
            self._additions = None
        for index in range(len(self._parameters)):
            if index not in now.present:
                self._is_final(now, index)
        anywhere = set()
        for bucket, future in zip(self._buckets, now.sums, strict=True):
            union = future.result()
            anywhere |= {index for bit, index in enumerate(bucket.members) if union >> bit & 1}
        for index, parameter in enumerate(self._parameters):
            parameter.grad = self._parts[index].view_as(parameter) if index in anywhere else None

    def _added(self, now: _Round, index: int, parameter: torch.Tensor) -> None:
        """The round's backward pass has added to a parameter's gradient."""
        if self._additions is not None:
            self._additions[index] += 1
        elif index in now.present:
            raise FuncpipeError(
                f"a parameter of shape {tuple(parameter.shape)} got gradients twice in one backward pass, the second "
                "after its sum over the replicas had begun; in earlier ones it got them once. With "
                "torch.utils.checkpoint, use_reentrant=False avoids that; else set synchronisation.bucket_bytes of the "
                "stage to null."
            )
        elif self._early[index]:
            self._is_final(now, index)

    def _is_final(self, now: _Round, index: int) -> None:
        parameter, part = self._parameters[index], self._parts[index]
        now.present[index] = parameter.grad is not None
        if parameter.grad is None:
            part.zero_()
        else:
            part.view_as(parameter).copy_(parameter.grad)
            parameter.grad = None
        for number in self._reach[index]:
            now.missing[number] -= 1
        while len(now.sums) < len(self._buckets) and now.missing[len(now.sums)] == 0:
            now.sums.append(self._mail.in_turn(self._start(now, self._buckets[len(now.sums)])))

    @staticmethod
    def _start(now: _Round, bucket: _Bucket) -> Callable[[], int]:
        present = sum(1 << bit for bit, index in enumerate(bucket.members) if now.present[index])
        bucket.reduction.encoding.settle(bucket.flat)
        return bucket.reduction.start(now.iteration, bucket.flat, present)

    def left_behind(self, iteration: int) -> list[str]:
        """Names of what all replicas leave in the inbox after their last iteration, for whoever ends the segment."""
        return [
            name
            for bucket in self._buckets
            for replica in range(bucket.reduction.replicas)
            for name in bucket.reduction.published(iteration, replica)
        ]
