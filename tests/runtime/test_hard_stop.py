"""A worker that has to stop and does not is ended; one that stops by itself is not."""

import threading

import pytest

from runtime.hard_stop import GRACE_S, HardStop
from runtime.mailbox import OUTCOME_POLL_S
from runtime.spending import STOPPING_S

LONG_S = 60.0


class Watched:
    """A worker as the hard stop sees it: what it looks at, and what became of it."""

    def __init__(self, grace_s: float) -> None:
        self.wrong: Exception | None = None
        self.looked, self.found, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.causes: list[BaseException] = []
        self.hard_stop = HardStop(self._look, self._find, self._end, poll_s=0.001, grace_s=grace_s)

    def _look(self) -> None:
        self.looked.set()
        if self.wrong is not None:
            raise self.wrong

    def _find(self, error: BaseException) -> None:
        self.causes.append(error)
        self.found.set()

    def _end(self, error: BaseException) -> None:
        self.causes.append(error)
        self.ended.set()


def test_who_does_not_stop_within_the_grace_is_ended_and_told_why() -> None:
    worker = Watched(grace_s=0.001)
    worker.hard_stop.start()
    assert worker.looked.wait(LONG_S) and not worker.found.is_set()
    worker.wrong = ValueError("another worker failed")
    assert worker.found.wait(LONG_S) and worker.ended.wait(LONG_S)
    assert worker.causes == [worker.wrong, worker.wrong]


@pytest.mark.parametrize("wrong", [None, ValueError("another worker failed")], ids=["all is well", "within the grace"])
def test_who_stops_by_itself_is_not_ended(wrong: Exception | None) -> None:
    worker = Watched(grace_s=LONG_S)
    worker.wrong = wrong
    worker.hard_stop.start()
    assert (worker.found if wrong else worker.looked).wait(LONG_S)
    worker.hard_stop.stop()
    worker.hard_stop._thread.join(LONG_S)
    assert not worker.hard_stop._thread.is_alive() and not worker.ended.is_set()


def test_it_ends_workers_before_they_cost_more_than_is_counted() -> None:
    assert OUTCOME_POLL_S + GRACE_S < STOPPING_S
