"""A worker's three lanes: threads that upload and download beside the thread that computes.

Several requests are in flight per direction, so that their latency hides; how many is bounded, so that memory is. An
exception in one lane cancels the waits of the others and is the one that is reported.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from runtime import keys
from runtime.arrivals import Arrivals
from runtime.codec import Bundle
from runtime.mailbox import Cancelled, Mailbox, Received, Turn
from runtime.pacing import IN_FLIGHT
from runtime.schedule import Lane
from runtime.timeline import Recorder

T = TypeVar("T")


class Lanes:
    """The upload and download threads of one worker."""

    def __init__(self, mailbox: Mailbox, recorder: Recorder, own_stage: int) -> None:
        self._mailbox, self._recorder, self._own_stage = mailbox, recorder, own_stage
        self._uploads = ThreadPoolExecutor(IN_FLIGHT, "upload")
        self._prefetches = ThreadPoolExecutor(IN_FLIGHT, "download")
        # Prefetches may wait for the next iteration, which cannot begin before the replicas have synchronised: their
        # threads must never be the ones that synchronising needs.
        self._syncs = ThreadPoolExecutor(IN_FLIGHT, "synchronise")
        # A gradient that a stage before waits for must not queue behind all pieces of this stage's own sum.
        self._sync_uploads = ThreadPoolExecutor(IN_FLIGHT, "synchronise-up")
        self._in_turn = ThreadPoolExecutor(1, "sum")
        self._cleanups = ThreadPoolExecutor(2, "clean-up")
        self._upload_slots = threading.BoundedSemaphore(2 * IN_FLIGHT)
        self._lock = threading.Lock()
        self._first_error: BaseException | None = None
        self._pending: set[Future[object]] = set()
        self._arrived: threading.Event | None = None
        self._sync_arrived: threading.Event | None = None
        self._arrivals = Arrivals()

    @property
    def first_error(self) -> BaseException | None:
        """What went wrong first in a lane, if anything did."""
        with self._lock:
            return self._first_error

    def _submit(self, pool: ThreadPoolExecutor, task: Callable[[], T]) -> "Future[T]":
        def guarded() -> T:
            try:
                return task()
            except BaseException as error:
                with self._lock:
                    if self._first_error is None and not isinstance(error, Cancelled):
                        self._first_error = error
                self._mailbox.cancel()
                raise

        future = pool.submit(guarded)
        with self._lock:
            self._pending.add(future)  # type: ignore[arg-type]
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: "Future[T]") -> None:
        with self._lock:
            self._pending.discard(future)  # type: ignore[arg-type]

    def send(self, iteration: int, instruction: str, stage: int, key: str, bundle: Bundle) -> None:
        """Uploads in the background; waits only while too many uploads are under way. Raises Cancelled."""
        while not self._upload_slots.acquire(timeout=0.5):
            self._mailbox.check()

        def upload() -> None:
            try:
                self._upload(iteration, instruction, stage, key, bundle)
            finally:
                self._upload_slots.release()

        self._submit(self._uploads, upload)

    def _upload(self, iteration: int, instruction: str, stage: int, key: str, bundle: Bundle) -> None:
        start_s = time.time()
        size = self._mailbox.send(stage, key, bundle)
        self._recorder.add(Lane.UPLOAD, iteration, instruction, start_s, size)

    def _await(
        self, iteration: int, instruction: str, key: str, before: threading.Event | None, arrived: threading.Event
    ) -> Received:
        start_s = time.time()
        name = keys.of_every_iteration(key)
        look = self._arrivals.look(name)
        received = self._mailbox.receive(key, Turn(before, look))
        arrived.set()
        self._arrivals.learn(name, look, received.looks, received.due_s)
        self._recorder.add(Lane.DOWNLOAD, iteration, instruction, start_s, received.bytes, received.waited_s)
        return received

    def receive(self, iteration: int, instruction: str, key: str) -> "Future[Received]":
        """Awaits an object in the background. At most IN_FLIGHT at a time make progress, in the order of the calls."""
        before, arrived = self._arrived, threading.Event()
        self._arrived = arrived
        return self._submit(self._prefetches, lambda: self._await(iteration, instruction, key, before, arrived))

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

    def send_sync(self, iteration: int, key: str, bundle: Bundle) -> "Future[None]":
        """Uploads a part of the stage's gradients to the stage's own inbox; never waits.

        The bundle must not change until the upload is done: it is encoded only when its turn comes, so that what is
        queued, views of one flat gradient, takes no memory.
        """
        return self._submit(self._sync_uploads, lambda: self._upload(iteration, "R", self._own_stage, key, bundle))

    def receive_sync(self, iteration: int, key: str) -> "Future[Received]":
        """Awaits a part of the stage's gradients."""
        before, arrived = self._sync_arrived, threading.Event()
        self._sync_arrived = arrived
        return self._submit(self._syncs, lambda: self._await(iteration, "R", key, before, arrived))

    def in_turn(self, task: Callable[[], int]) -> "Future[int]":
        """Runs what waits for parts of the stage's gradients, one task after the other."""
        return self._submit(self._in_turn, task)

    def discard(self, key: str) -> None:
        """Deletes a consumed object in the background."""
        self._submit(self._cleanups, lambda: self._mailbox.discard(key))

    def background(self, task: Callable[[], object]) -> "Future[object]":
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
        """Ends all threads; waits that are under way are cancelled."""
        self._mailbox.cancel()
        for pool in (self._prefetches, self._syncs, self._uploads, self._cleanups, self._sync_uploads, self._in_turn):
            pool.shutdown(wait=True, cancel_futures=True)
