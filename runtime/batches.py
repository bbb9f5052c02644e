"""Which samples make up which micro-batch: arithmetic only, the same for every plan.

An epoch's samples, in that epoch's order (``runtime.data``), are cut into global batches of ``global_batch_size``;
the last one of an epoch may be short, and no batch straddles two epochs. A global batch is cut into micro-batches of
``micro_batch_size``; the last one may be short. Micro-batch m belongs to replica m mod d of a stage with d replicas.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class MicroBatch:
    """Samples ``start`` to ``start + size`` of one epoch's order; ``weight`` is their share of the global batch."""

    index: int
    epoch: int
    start: int
    size: int
    weight: float


def iterations_per_epoch(samples: int, global_batch_size: int) -> int:
    return -(-samples // global_batch_size)


def total_iterations(samples: int, global_batch_size: int, epochs: int | None, iterations: int | None) -> int:
    """Optimiser steps of a whole run; exactly one of ``epochs`` and ``iterations`` is not None."""
    if iterations is not None:
        return iterations
    assert epochs is not None
    return epochs * iterations_per_epoch(samples, global_batch_size)


def micro_batches(iteration: int, samples: int, global_batch_size: int, micro_batch_size: int) -> list[MicroBatch]:
    """The micro-batches of one iteration (counted from 0 over the whole run), in order."""
    per_epoch = iterations_per_epoch(samples, global_batch_size)
    epoch, batch = divmod(iteration, per_epoch)
    begin = batch * global_batch_size
    end = min(begin + global_batch_size, samples)
    starts = range(begin, end, micro_batch_size)
    sizes = [min(micro_batch_size, end - start) for start in starts]
    return [
        MicroBatch(index, epoch, start, size, size / (end - begin))
        for index, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


def replica_of(micro_batch: int, replicas: int) -> int:
    """The replica of a stage with ``replicas`` replicas that processes micro-batch ``micro_batch``."""
    return micro_batch % replicas
