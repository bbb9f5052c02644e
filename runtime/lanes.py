"""A worker's three lanes: threads that upload and download beside the thread that computes, and what they recorded.

Several requests are in flight per direction, so that their latency hides; how many is bounded, so that memory is. An
exception in one lane cancels the waits of the others and is the one that is reported.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from runtime.codec import Bundle
from runtime.mailbox import Cancelled, Mailbox, Received, Turn
from runtime.pacing import IN_FLIGHT
from runtime.records import TimelineEvent
from runtime.schedule import Lane

T = TypeVar("T")

RECORDED_EVENTS = 5_000
"""Timeline events kept per worker and segment: the first ones; about 1 MB of JSON."""


class Recorder:
    """Collects a worker's timeline from several threads."""

    def __init__(self, stage: int, replica: int) -> None:
        self._stage, self._replica = stage, replica
        self._lock = threading.Lock()
        self._events: list[TimelineEvent] = []

    def add(
        self, lane: Lane, iteration: int, instruction: str, start_s: float, size: int = 0, waited_s: float = 0.0
    ) -> None:
        """Records an instruction that began at ``start_s`` (Unix time) and ends now."""
        event = TimelineEvent(
            stage=self._stage,
            replica=self._replica,
            iteration=iteration,
            lane=lane,
            instruction=instruction,
            start_s=start_s,
            end_s=time.time(),
            bytes=size,
            waited_s=waited_s,
        )
        with self._lock:
            if len(self._events) < RECORDED_EVENTS:
                self._events.append(event)

    @contextmanager
    def computing(self, iteration: int, instruction: str) -> Iterator[None]:
        """Records the body as an instruction of the compute lane."""
        start_s = time.time()
        yield
        self.add(Lane.COMPUTE, iteration, instruction, start_s)

    @property
    def events(self) -> list[TimelineEvent]:
        with self._lock:
            return sorted(self._events, key=lambda event: event.start_s)


class Lanes:
    """The upload and download threads of one worker."""

    def __init__(self, mailbox: Mailbox, recorder: Recorder, own_stage: int) -> None:
        self._mailbox, self._recorder, self._own_stage = mailbox, recorder, own_stage
        self._uploads = ThreadPoolExecutor(IN_FLIGHT, "upload")
        self._prefetches = ThreadPoolExecutor(IN_FLIGHT, "download")
        # Prefetches may wait for the next iteration, which cannot begin before the replicas have synchronised: their
        # threads must never be the ones that synchronising needs.
        self._syncs = ThreadPoolExecutor(IN_FLIGHT, "synchronise")
        self._cleanups = ThreadPoolExecutor(2, "clean-up")
        self._upload_slots = threading.BoundedSemaphore(2 * IN_FLIGHT)
        self._lock = threading.Lock()
        self._first_error: BaseException | None = None
        self._pending: set[Future[object]] = set()
        self._arrived: threading.Event | None = None
        self._sync_arrived: threading.Event | None = None
        self._expected_s: dict[str, float] = {}
        """By instruction: how long its object of the iteration before was awaited."""

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

    def _awaiting(
        self, iteration: int, instruction: str, key: str, turn: Turn, arrived: threading.Event
    ) -> Callable[[], Received]:
        def download() -> Received:
            start_s = time.time()
            received = self._mailbox.receive(key, turn)
            arrived.set()
            self._recorder.add(Lane.DOWNLOAD, iteration, instruction, start_s, received.bytes, received.waited_s)
            return received

        return download

    def receive(self, iteration: int, instruction: str, key: str) -> "Future[Received]":
        """Awaits an object in the background. At most IN_FLIGHT at a time make progress, in the order of the calls."""
        turn = Turn(self._arrived, self._expected_s.get(instruction, 0.0))
        self._arrived = threading.Event()
        await_object = self._awaiting(iteration, instruction, key, turn, self._arrived)

        def download() -> Received:
            received = await_object()
            self._expected_s[instruction] = received.due_s
            return received

        return self._submit(self._prefetches, download)

    def load(self, iteration: int, instruction: str, task: Callable[[], Bundle]) -> "Future[Received]":
        """Runs ``task``, which reads samples, on the download lane."""

        def download() -> Received:
            start_s = time.time()
            bundle = task()
            self._recorder.add(Lane.DOWNLOAD, iteration, instruction, start_s)
            return Received(bundle, 0, 0.0, 0.0)

        return self._submit(self._prefetches, download)

    def send_sync(self, iteration: int, key: str, bundle: Bundle) -> "Future[None]":
        """Uploads a part of the stage's gradients to the stage's own inbox; never waits.

        The bundle must not change until the upload is done: it is encoded only when its turn comes, so that what is
        queued, views of one flat gradient, takes no memory.
        """
        return self._submit(self._uploads, lambda: self._upload(iteration, "R", self._own_stage, key, bundle))

    def receive_sync(self, iteration: int, key: str) -> "Future[Received]":
        """Awaits a part of the stage's gradients."""
        turn, self._sync_arrived = Turn(self._sync_arrived), threading.Event()
        return self._submit(self._syncs, self._awaiting(iteration, "R", key, turn, self._sync_arrived))

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
        for pool in (self._prefetches, self._syncs, self._uploads, self._cleanups):
            pool.shutdown(wait=True, cancel_futures=True)
