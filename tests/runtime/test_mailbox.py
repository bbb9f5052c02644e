from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from runtime.arrivals import Look
from runtime.keys import GangKeys
from runtime.mailbox import Arrival, Cancelled, Mailbox, Stalled, Turn
from runtime.outcome import GangAborted
from runtime.records import Abort
from runtime.store import KeyNotFound, Store
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import CountingStore, TrafficCounter

GANG = GangKeys("run", 0, 0)


class Late(Store):
    """Has an object only from the n-th GET on; each GET takes ``step_s`` of the fake clock."""

    def __init__(self, after, clock, step_s=0.3):
        self.left, self.clock, self.step_s = after, clock, step_s

    def get(self, key, *, within_s=None, found=None):
        self.clock.now += self.step_s
        self.left -= 1
        if self.left >= 0:
            raise KeyNotFound(key)
        return b"here"

    def put(self, key, body, *, if_absent=False):
        raise AssertionError("not used")

    def delete(self, key):
        raise AssertionError("not used")

    def held(self, prefix):
        raise AssertionError("a waiting worker must not list")


class Clock:
    """Time that passes only in ``sleep`` and in the stores above."""

    now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class At(Late):
    """Has an object from a time on, and tells since when."""

    def __init__(self, at, clock):
        super().__init__(0, clock)
        self.at = at

    def get(self, key, *, within_s=None, found=None):
        if self.clock.now < self.at:
            raise KeyNotFound(key)
        if found is not None:
            found(self.at)
        return b"here"


@pytest.fixture
def clock():
    return Clock()


def mailbox(tmp_path, clock, **options):
    inbox = options.pop("inbox", None) or DirectoryStore(tmp_path / "inbox")
    arguments = {"stall_timeout_s": 60, "deadline": 1000, "artifacts": DirectoryStore(tmp_path / "artifacts")} | options
    time = {"clock": clock, "unix_time": clock, "sleep": clock.sleep}
    return Mailbox(stage=0, inboxes={0: inbox, 1: inbox}, gang=GANG, **time, **arguments)


def wait_for(tmp_path, clock, store, look, before=None):
    """How an object was awaited, and when the next one had its turn."""
    learnt, arrival = [], Arrival()

    def learn(wait):
        learnt.append(wait)
        return wait.asked_s - 0.1

    mailbox(tmp_path, clock).wait(store, "k", Turn(before, lambda: look, learn, arrival))
    (wait,) = learnt
    assert arrival.wait(0.0) == pytest.approx(wait.asked_s - 0.1), "the next one's turn is what was learnt"
    return wait


def test_an_object_is_received_and_left_until_discarded(tmp_path, clock):
    box = mailbox(tmp_path, clock)
    size = box.send(0, "k", {"t": torch.ones(3)})
    received = box.receive("k")
    assert received.bundle["t"].tolist() == [1, 1, 1]
    assert received.bytes == size
    box.receive("k")
    box.discard("k")
    assert list(DirectoryStore(tmp_path / "inbox").list("")) == []


def test_waiting_polls_the_key_until_it_is_there(tmp_path, clock):
    counter = TrafficCounter()
    awaited = mailbox(tmp_path, clock).wait(CountingStore(Late(3, clock), counter), "k")
    assert awaited.data == b"here"
    assert awaited.waited_s == pytest.approx(0.9, abs=0.02)
    assert counter.traffic.empty_gets == 3


def test_an_object_that_never_comes_is_a_stall(tmp_path, clock):
    with pytest.raises(Stalled, match=r"k did not appear within 6\d s \(stall_timeout_s: 60"):
        mailbox(tmp_path, clock).wait(Late(10**6, clock, step_s=5), "k")


def test_the_end_of_the_life_time_ends_the_wait(tmp_path, clock):
    with pytest.raises(Stalled, match="life time left: 0 s"):
        mailbox(tmp_path, clock, deadline=5).wait(Late(10**6, clock), "k")


def test_the_attempts_outcome_ends_the_wait_within_a_second_or_two(tmp_path, clock):
    artifacts = DirectoryStore(tmp_path / "artifacts")
    abort = Abort(reason="stopped", retryable=False, message="stopped by its owner", begun_at=0.0, at=0.0)
    artifacts.put(GANG.outcome, abort.model_dump_json().encode())
    with pytest.raises(GangAborted, match="stopped by its owner"):
        mailbox(tmp_path, clock).wait(Late(10**6, clock), "k")
    assert clock.now < 2


def test_the_outcome_is_asked_for_once_a_second(tmp_path, clock):
    counter = TrafficCounter()
    artifacts = CountingStore(DirectoryStore(tmp_path / "artifacts"), counter)
    box = mailbox(tmp_path, clock, artifacts=artifacts)
    for _ in range(100):
        clock.now += 0.1
        box.check()
    assert 9 <= counter.traffic.gets <= 10


def test_cancelling_ends_every_wait(tmp_path, clock):
    box = mailbox(tmp_path, clock)
    box.cancel()
    with pytest.raises(Cancelled):
        box.receive("k")


def test_before_its_turn_an_object_is_asked_for_only_once(tmp_path, clock):
    counter, before = TrafficCounter(), Arrival()
    store = CountingStore(Late(3, clock), counter)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(mailbox(tmp_path, clock).wait, store, "k", Turn(before, lambda: Look(-1.0)))
        while counter.traffic.empty_gets == 0:
            assert not waiting.done()
        assert counter.traffic.empty_gets == 1
        before.tell(0.0)
        assert waiting.result().data == b"here"
    assert counter.traffic.empty_gets == 3


def test_an_object_that_is_there_does_not_wait_for_its_turn(tmp_path, clock):
    wait = wait_for(tmp_path, clock, Late(0, clock), Look(-1.0), before=Arrival())
    assert (wait.since_s, wait.looks, wait.asked_s, wait.told_s) == (None, 1, 0.0, None)


def test_an_object_is_first_asked_for_when_it_is_likely_to_be_there(tmp_path, clock):
    wait = wait_for(tmp_path, clock, At(9.7, clock), Look(9.0, 0.4))
    assert (wait.missed_s, wait.asked_s, wait.looks) == (pytest.approx(9.4), pytest.approx(9.85), 3)
    assert (wait.issued_s, wait.since_s, wait.told_s) == (0.0, 0.0, pytest.approx(9.7))


def test_an_objects_turn_begins_when_the_one_before_it_came_and_not_when_that_was_found(tmp_path, clock):
    before = Arrival()
    before.tell(4.0)
    clock.now = 5.0
    wait = wait_for(tmp_path, clock, At(6.0, clock), Look(2.0), before)
    assert (wait.issued_s, wait.since_s, wait.asked_s) == (5.0, 5.0, 7.0), "but not before its own request"
    before, clock.now, learnt = Arrival(), 5.0, []

    def look():
        """Asked for at the request; until it is asked again, at the turn, the object before it comes and is found."""
        clock.now = 6.0
        before.tell(5.5)
        return Look(2.0)

    mailbox(tmp_path, clock).wait(At(7.0, clock), "k", Turn(before, look, lambda wait: learnt.append(wait) or 0.0))
    assert (learnt[0].issued_s, learnt[0].since_s, learnt[0].asked_s) == (5.0, 5.5, 7.5)


def test_while_an_object_is_looked_for_closely_pauses_do_not_grow(tmp_path, clock):
    wait = wait_for(tmp_path, clock, At(9.7, clock), Look(9.0, 0.2, 10.0))
    assert (wait.missed_s, wait.asked_s, wait.looks) == (pytest.approx(9.6), pytest.approx(9.8), 5)


def test_a_pause_lasts_from_look_to_look(tmp_path, clock):
    wait = wait_for(tmp_path, clock, Late(3, clock, step_s=0.3), Look(1.0, 0.4, 10.0))
    assert (wait.missed_s, wait.asked_s, wait.looks) == (pytest.approx(1.8), pytest.approx(2.2), 4)
    assert wait.answer_s == pytest.approx(0.3)


def test_what_is_found_at_the_first_look_has_missed_none(tmp_path, clock):
    wait = wait_for(tmp_path, clock, At(7.0, clock), Look(9.0, 0.4))
    assert (wait.missed_s, wait.asked_s, wait.looks, wait.answer_s) == (None, 9.0, 1, None)
    assert wait.told_s == pytest.approx(7.0), "and yet it is known when it came"


def test_that_an_object_is_there_is_told_once(tmp_path, clock):
    class Twice(At):
        def get(self, key, *, within_s=None, found=None):
            found(3.0)
            found(3.5)
            return b"here"

    assert wait_for(tmp_path, clock, Twice(0.0, clock), Look()).told_s == 3.0


def test_the_abort_marker_is_seen_while_nothing_is_asked_for(tmp_path, clock):
    artifacts = DirectoryStore(tmp_path / "artifacts")
    abort = Abort(reason="stopped", retryable=False, message="stopped by its owner", begun_at=0.0, at=0.0)
    artifacts.put(GANG.outcome, abort.model_dump_json().encode())
    with pytest.raises(GangAborted):
        mailbox(tmp_path, clock).wait(At(500.0, clock), "k", Turn(look=lambda: Look(500.0)))
    assert clock.now < 3
