"""The download lane of one worker over a whole segment: what is requested ahead, and handed over in schedule order.

    schedule order   L0  RF0  L1  RF1  RB0  RB1 │ L0  RF0 ...        │ the next iteration
                     taken    └── requested ──┘
                              at most Lanes.ahead

Requests run ahead of the compute lane, across iterations too, so that an object is on its way before it is needed.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import torch

from runtime.batches import MicroBatch
from runtime.codec import Bundle
from runtime.keys import GangKeys
from runtime.lanes import Lanes
from runtime.mailbox import Received
from runtime.schedule import Instruction, Op
from runtime.shards import ShardReader


class Prefetch:
    """Hands over what the download lane fetches.

    Args:
        readers: by field ("input", "target"), of the samples that this worker needs.
        dtype: floating samples are converted to it.
        downloads: (iteration, instruction, its micro-batch) of the segment's download lane, in order.
        certain: iterations before this one will be executed, so their objects may be requested; it grows.
    """

    def __init__(
        self,
        lanes: Lanes,
        gang: GangKeys,
        *,
        readers: dict[str, ShardReader],
        dtype: torch.dtype,
        downloads: Iterator[tuple[int, Instruction, MicroBatch]],
        certain: Callable[[], int],
    ) -> None:
        self._lanes, self._gang, self._readers, self._dtype = lanes, gang, readers, dtype
        self._downloads, self._certain = downloads, certain
        self._following = next(downloads, None)
        self._requested: deque[tuple[int, Instruction, Future[Received]]] = deque()
        self._reading = threading.Lock()
        self._loading: Future[Received] | None = None

    def take(self, iteration: int, expected: Instruction) -> Bundle:
        """Waits for the next object, which is the one that ``expected`` names, and requests those that come after it.

        A received object is deleted from the inbox: it is consumed. Raises what went wrong in the lane.
        """
        while len(self._requested) < self._lanes.ahead and self._following and self._following[0] < self._certain():
            self._requested.append((*self._following[:2], self._request(*self._following)))
            self._following = next(self._downloads, None)
        requested_iteration, instruction, future = self._requested.popleft()
        assert (requested_iteration, instruction) == (iteration, expected), "lanes execute in schedule order"
        received = future.result()
        if instruction.op is not Op.LOAD:
            self._lanes.discard(self._key(iteration, instruction), received.ranges)
        return received.bundle

    def _request(self, iteration: int, instruction: Instruction, batch: MicroBatch) -> "Future[Received]":
        if instruction.op is not Op.LOAD:
            return self._lanes.receive(iteration, str(instruction), self._key(iteration, instruction))
        idle = self._loading is None or self._loading.done()
        held = idle and all(reader.holds(batch.epoch, batch.start, batch.size) for reader in self._readers.values())
        # Picking samples that are in memory takes less than handing the task to another thread.
        loading = self._lanes.load(iteration, str(instruction), lambda: self._samples(batch), here=held)
        self._loading = loading
        return loading

    def _key(self, iteration: int, instruction: Instruction) -> str:
        name = self._gang.activation if instruction.op is Op.RECEIVE_ACTIVATION else self._gang.gradient
        return name(iteration, instruction.micro_batch)  # type: ignore[arg-type]

    def _samples(self, batch: MicroBatch) -> Bundle:
        bundle: Bundle = {}
        with self._reading:
            for field, reader in self._readers.items():
                tensor = reader.batch(batch.epoch, batch.start, batch.size)
                bundle[field] = tensor.to(self._dtype) if tensor.is_floating_point() else tensor
        return bundle
