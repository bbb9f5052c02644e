"""A worker's three lanes: threads that upload and download beside the thread that computes.

Several requests are in flight per direction, so that their latency hides; how many is bounded, so that memory is. An
exception in one lane cancels the waits of the others and is the one that is reported.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from runtime import keys
from runtime.arrivals import Arrivals
from runtime.codec import Bundle, Outgoing
from runtime.mailbox import Arrival, Cancelled, Mailbox, Parallel, Received, Turn
from runtime.pacing import IN_FLIGHT
from runtime.schedule import Lane
from runtime.store import Data
from runtime.timeline import Recorder

T = TypeVar("T")


class _Queue:
    """Objects in the order of their requests: each has its turn when the one before it is there."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._lock = threading.Lock()
        self._arrival: Arrival | None = None
        self._series: str | None = None

    def turn(self, key: str) -> Turn:
        """Of the next one."""
        series, arrival = keys.series(key), Arrival()
        with self._lock:
            turn = _turn(self._arrivals, key, self._arrival, arrival, follows=series == self._series)
            self._arrival, self._series = arrival, series
        return turn


def _turn(arrivals: Arrivals, key: str, before: Arrival | None, arrival: Arrival, *, follows: bool) -> Turn:
    """The object is awaited at the time that earlier iterations say, and later ones learn from it."""
    return Turn(before, partial(arrivals.look, key, follows), partial(arrivals.learn, key, follows=follows), arrival)


class Lanes:
    """The upload and download threads of one worker.

    Args:
        iteration_s: as planned; 0 where there is no plan.
        in_sequence: the computing thread waits for each upload, and nothing is requested before it is needed: what a
            worker without lanes would do, for comparison.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        recorder: Recorder,
        own_stage: int,
        iteration_s: float = 0.0,
        in_sequence: bool = False,
    ) -> None:
        self._mailbox, self._recorder, self._own_stage = mailbox, recorder, own_stage
        self._in_sequence = in_sequence
        self.ahead = 1 if in_sequence else IN_FLIGHT
        """Objects of the schedule that may be requested and not yet taken."""
        self._pools: list[ThreadPoolExecutor] = []

        def threads(count: int, name: str) -> ThreadPoolExecutor:
            self._pools.append(ThreadPoolExecutor(count, name))
            return self._pools[-1]

        self._uploads = threads(IN_FLIGHT, "upload")
        self._prefetches = threads(IN_FLIGHT, "download")
        # Prefetches may wait for the next iteration, which cannot begin before the replicas have synchronised: their
        # threads must never be the ones that synchronising needs.
        self._syncs = threads(IN_FLIGHT, "synchronise")
        self._sync_uploads = threads(IN_FLIGHT, "synchronise-up")
        self._in_turn = threads(1, "sum")
        self._cleanups = threads(2, "clean-up")
        # Ranges are awaited by threads of the pools above, so they need threads of their own.
        self._ranges_up = threads(IN_FLIGHT, "upload-range")
        self._ranges_down = threads(IN_FLIGHT, "download-range")
        # As many as the plan's memory counts; the computing thread holds one more while it waits.
        self._upload_slots = threading.BoundedSemaphore(IN_FLIGHT)
        self._sending = threading.Condition()
        self._sends = 0
        """Objects of the schedule that were given to the upload lane, or announced, and are not in the store yet."""
        self._announced = False
        self._lock = threading.Lock()
        self._first_error: BaseException | None = None
        self._closing = False
        self._pending: set[Future[object]] = set()
        self._arrivals = Arrivals(iteration_s)
        self._queue, self._sync_queue = _Queue(self._arrivals), _Queue(self._arrivals)

    @property
    def first_error(self) -> BaseException | None:
        """What went wrong first in a lane, if anything did."""
        with self._lock:
            return self._first_error

    def fail(self, error: BaseException) -> None:
        """Makes every wait of this worker give up, because of ``error``."""
        with self._lock:
            if self._first_error is None and not self._closing and not isinstance(error, Cancelled):
                self._first_error = error
        self._mailbox.cancel()

    def _submit(self, pool: ThreadPoolExecutor, task: Callable[[], T]) -> "Future[T]":
        def guarded() -> T:
            try:
                return task()
            except BaseException as error:
                self.fail(error)
                raise

        future = pool.submit(guarded)
        with self._lock:
            self._pending.add(future)  # type: ignore[arg-type]
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: "Future[T]") -> None:
        with self._lock:
            self._pending.discard(future)  # type: ignore[arg-type]

    def announce(self) -> None:
        """Says that the next ``send`` is about to come: parts of gradients that are final before wait for it, too."""
        with self._sending:
            self._sends += not self._announced
            self._announced = True

    def send(self, iteration: int, instruction: str, stage: int, key: str, bundle: Outgoing) -> None:
        """Uploads in the background; waits only while too many uploads are under way. Raises Cancelled."""
        while not self._upload_slots.acquire(timeout=0.5):
            self._mailbox.check()
        with self._sending:
            self._sends += not self._announced
            self._announced = False

        def upload() -> None:
            try:
                self._upload(iteration, instruction, stage, key, bundle, self._put_ranges)
            finally:
                self._upload_slots.release()
                with self._sending:
                    self._sends -= 1
                    self._sending.notify_all()

        future = self._submit(self._uploads, upload)
        if self._in_sequence:
            future.result()

    def _upload(
        self,
        iteration: int,
        instruction: str,
        stage: int,
        key: str,
        bundle: Outgoing,
        parallel: Parallel | None = None,
    ) -> None:
        start_s = time.time()
        size = self._mailbox.send(stage, key, bundle, parallel)
        self._recorder.add(Lane.UPLOAD, iteration, instruction, start_s, size)

    def _put_ranges(self, puts: list[Callable[[], object]]) -> None:
        for _ in self._ranges_up.map(lambda put: put(), puts):
            pass

    def _get_ranges(self, names: list[str]) -> Iterator[Data]:
        """Further ranges of an object, in order; IN_FLIGHT at a time are under way or wait to be taken."""
        under_way: deque[Future[Data]] = deque()
        for name in names:
            if len(under_way) == IN_FLIGHT:
                yield under_way.popleft().result()
            under_way.append(self._ranges_down.submit(self._get_range, name))
        while under_way:
            yield under_way.popleft().result()

    def _get_range(self, key: str) -> Data:
        return self._mailbox.wait_own(key, _turn(self._arrivals, key, None, Arrival(), follows=True)).data

    def _await(
        self,
        iteration: int,
        instruction: str,
        key: str,
        turn: Turn,
        rest: Callable[[list[str]], Iterable[Data]] | None,
    ) -> Received:
        start_s = time.time()
        received = self._mailbox.receive(key, turn, rest)
        self._recorder.add(Lane.DOWNLOAD, iteration, instruction, start_s, received.bytes, received.waited_s)
        return received

    def receive(self, iteration: int, instruction: str, key: str) -> "Future[Received]":
        """Awaits an object in the background. At most IN_FLIGHT at a time make progress, in the order of the calls."""
        turn = self._queue.turn(key)
        return self._submit(self._prefetches, lambda: self._await(iteration, instruction, key, turn, self._get_ranges))

    def load(self, iteration: int, instruction: str, task: Callable[[], Bundle], *, here: bool) -> "Future[Received]":
        """Runs ``task``, which reads samples, on the download lane; or ``here`` and now, where that is quickly done."""

        def download() -> Received:
            start_s = time.time()
            bundle = task()
            self._recorder.add(Lane.DOWNLOAD, iteration, instruction, start_s)
            return Received(bundle, 0)

        if not here:
            return self._submit(self._prefetches, download)
        done: Future[Received] = Future()
        done.set_result(download())
        return done

    def send_sync(self, iteration: int, key: str, bundle: Outgoing) -> "Future[None]":
        """Uploads a part of the stage's gradients to the stage's own inbox; never waits.

        The bundle must not change until the upload is done: it is encoded only when its turn comes, so that what is
        queued, views of one flat gradient, takes no memory. Objects of the schedule go first: a stage before waits for
        the gradients among them, and has its own sum still to come.
        """

        def upload() -> None:
            while not self._sent_all(0.5):
                self._mailbox.check()
            self._upload(iteration, "R", self._own_stage, key, bundle)

        return self._submit(self._sync_uploads, upload)

    def _sent_all(self, within_s: float) -> bool:
        """Whether no object of the schedule is left to be sent, now or soon."""
        with self._sending:
            return self._sending.wait_for(lambda: not self._sends, within_s)

    def receive_sync(self, iteration: int, key: str) -> "Future[Received]":
        """Awaits a part of the stage's gradients."""
        turn = self._sync_queue.turn(key)
        return self._submit(self._syncs, lambda: self._await(iteration, "R", key, turn, None))

    def in_turn(self, task: Callable[[], int]) -> "Future[int]":
        """Runs what waits for parts of the stage's gradients, one task after the other."""
        return self._submit(self._in_turn, task)

    def discard(self, key: str, ranges: int = 1) -> None:
        """Deletes a consumed object in the background."""
        self._submit(self._cleanups, lambda: self._mailbox.discard(key, ranges))

    def background(self, task: Callable[[], T]) -> "Future[T]":
        """Runs a small task beside the lanes."""
        return self._submit(self._cleanups, task)

    def drain(self) -> None:
        """Waits until all that was submitted is done. Raises what went wrong in it."""
        while True:
            with self._lock:
                pending = list(self._pending)
            if not pending:
                break
            for future in pending:
                future.result()
        if self.first_error is not None:
            raise self.first_error

    def close(self) -> None:
        """Ends all threads; waits that are under way are cancelled, and what they say of that is no error."""
        with self._lock:
            self._closing = True
        self._mailbox.cancel()
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)
