"""What a worker's lanes did and when, as its timeline record tells."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.records import TimelineEvent
from runtime.schedule import Lane

RECORDED_EVENTS = 5_000
"""Timeline events kept per worker and segment, and those of one iteration more; about 1 MB of JSON."""

_Event = tuple[Lane, str, float, float, int, float]


class Recorder:
    """Collects a worker's timeline from several threads.

    Only whole iterations are kept: the first ones, up to half of RECORDED_EVENTS, and the last ones.
    """

    def __init__(self, stage: int, replica: int) -> None:
        self._stage, self._replica = stage, replica
        self._lock = threading.Lock()
        self._first: set[int] = set()
        self._iterations: dict[int, list[_Event]] = {}
        self._count = 0
        self._dropped = -1

    def add(
        self, lane: Lane, iteration: int, instruction: str, start_s: float, size: int = 0, waited_s: float = 0.0
    ) -> None:
        """Records an instruction that began at ``start_s`` (Unix time) and ends now."""
        event = (lane, instruction, start_s, time.time(), size, waited_s)
        with self._lock:
            if iteration not in self._iterations:
                if iteration <= self._dropped:
                    return  # an upload that outlived its iteration's record
                self._make_room()
                self._iterations[iteration] = []
            self._iterations[iteration].append(event)
            self._count += 1

    def _make_room(self) -> None:
        """Called between iterations: what is under way, and what lanes may still add to, is left."""
        settled = list(self._iterations)
        if self._count <= RECORDED_EVENTS / 2:
            self._first.update(settled)
        for iteration in [i for i in settled[:-1] if i not in self._first]:
            if self._count <= RECORDED_EVENTS:
                break
            self._count -= len(self._iterations.pop(iteration))
            self._dropped = iteration

    @contextmanager
    def computing(self, iteration: int, instruction: str) -> Iterator[None]:
        """Records the body as an instruction of the compute lane."""
        start_s = time.time()
        yield
        self.add(Lane.COMPUTE, iteration, instruction, start_s)

    @property
    def events(self) -> list[TimelineEvent]:
        """What is kept, by start."""
        with self._lock:
            kept = [(iteration, event) for iteration, events in self._iterations.items() for event in events]
        return [
            TimelineEvent(
                stage=self._stage,
                replica=self._replica,
                iteration=iteration,
                lane=lane,
                instruction=instruction,
                start_s=start_s,
                end_s=end_s,
                bytes=size,
                waited_s=waited_s,
            )
            for iteration, (lane, instruction, start_s, end_s, size, waited_s) in sorted(
                kept, key=lambda item: item[1][2]
            )
        ]
