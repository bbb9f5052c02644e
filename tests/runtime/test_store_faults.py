import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime.store import KeyNotFound, StoreUnavailable, TransientError
from runtime.store_faults import FaultKind, FaultRule, FaultSpec, FaultyStore
from runtime.store_memory import MemoryStore
from runtime.store_retries import FIRST_PAUSE_S, LONGEST_PAUSE_S, TRIES, RetryingStore
from runtime.store_wrappers import CountingStore, TrafficCounter


def faulty(*rules, seed=0, **options):
    return FaultyStore(MemoryStore(), FaultSpec(seed=seed, rules=tuple(rules)), **options)


def test_a_lost_put_is_told_to_be_done():
    store = faulty(FaultRule(kind=FaultKind.LOST_PUT, key="*/activation/*", first=1))
    assert store.put("r/activation/1", b"x") and store.put("r/gradient/1", b"y")
    with pytest.raises(KeyNotFound):
        store.get("r/activation/1")
    assert store.get("r/gradient/1") == b"y"
    assert store.put("r/activation/1", b"x") and store.get("r/activation/1") == b"x", "only the first is lost"


def test_a_delayed_put_appears_later_as_it_was_sent():
    waiting = []
    store = faulty(
        FaultRule(kind=FaultKind.DELAYED_PUT, delay_s=3.0), later=lambda delay, action: waiting.append((delay, action))
    )
    body = bytearray(b"sent")
    store.put("k", body)
    body[:] = b"else"
    with pytest.raises(KeyNotFound):
        store.get("k")
    ((delay, action),) = waiting
    action()
    assert (delay, store.get("k")) == (3.0, b"sent")


def test_a_duplicated_put_comes_back_after_its_deletion():
    waiting = []
    store = faulty(FaultRule(kind=FaultKind.DUPLICATED_PUT, delay_s=1.0), later=lambda delay, act: waiting.append(act))
    store.put("k", b"x")
    assert store.get("k") == b"x"
    store.delete("k")
    waiting[0]()
    assert store.get("k") == b"x"


def test_slow_requests_take_longer():
    slept = []
    store = faulty(FaultRule(kind=FaultKind.SLOW, delay_s=2.0), sleep=slept.append)
    store.put("k", b"x")
    assert store.get("k") == b"x"
    store.delete("k")
    assert slept == [2.0] * 3


def test_the_same_seed_gives_the_same_faults_whichever_thread_comes_first():
    def refused(seed, threads):
        store = faulty(FaultRule(kind=FaultKind.THROTTLED, share=0.3), seed=seed)

        def ask(key):
            outcomes = []
            for _ in range(5):
                try:
                    store.put(key, b"")
                    outcomes.append(True)
                except TransientError:
                    outcomes.append(False)
            return outcomes

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(ask, [f"k{index}" for index in range(100)]))

    assert refused(1, 1) == refused(1, 8) != refused(2, 1)
    share = sum(not done for outcomes in refused(1, 1) for done in outcomes) / 500
    assert share == pytest.approx(0.3, abs=0.08)


class Clock:
    def __init__(self):
        self.now, self.pauses = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def retrying(store, clock):
    return RetryingStore(store, clock=clock, sleep=clock.sleep, generator=random.Random(1))


def test_what_fails_for_a_while_is_tried_until_it_succeeds_and_each_try_is_counted():
    clock, counter = Clock(), TrafficCounter()
    store = faulty(FaultRule(kind=FaultKind.THROTTLED, first=TRIES - 1))
    reliable = retrying(CountingStore(store, counter), clock)
    assert reliable.put("k", b"x")
    assert counter.traffic.puts == TRIES
    limits = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(TRIES - 1)]
    assert all(0 <= pause <= limit for pause, limit in zip(clock.pauses, limits, strict=True))
    assert reliable.get("k") == b"x"
    assert list(reliable.list("")) == ["k"]
    reliable.delete("k")


def test_what_fails_for_good_is_told_with_its_tries_and_the_last_error():
    store = retrying(faulty(FaultRule(kind=FaultKind.READ_ERROR)), Clock())
    with pytest.raises(StoreUnavailable, match=rf"did not do GET a/b in {TRIES} tries over .* broke during GET a/b"):
        store.get("a/b")


def test_no_try_is_made_after_the_time_that_was_given():
    clock, counter = Clock(), TrafficCounter()
    store = CountingStore(faulty(FaultRule(kind=FaultKind.THROTTLED)), counter)
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        retrying(store, clock).get("k", within_s=0.5)
    assert clock.now < 0.5 and 1 < counter.traffic.gets < TRIES


def test_a_conditional_put_whose_answer_was_lost_knows_its_own_object():
    store = faulty(FaultRule(kind=FaultKind.UNANSWERED_PUT, first=1))
    reliable = retrying(store, Clock())
    assert reliable.put("mine", b"me", if_absent=True)
    assert not reliable.put("mine", b"you", if_absent=True)


def test_another_s_object_is_not_taken_for_one_s_own():
    store = faulty(FaultRule(kind=FaultKind.THROTTLED, key="k", first=2))
    reliable = retrying(store, Clock())
    assert reliable.put("k", b"theirs", if_absent=True)
    assert not retrying(faulty_around(store), Clock()).put("k", b"mine", if_absent=True)


def faulty_around(store):
    return FaultyStore(store, FaultSpec(rules=(FaultRule(kind=FaultKind.THROTTLED, first=1),)))


def test_other_errors_are_not_tried_again():
    with pytest.raises(KeyNotFound):
        retrying(MemoryStore(), clock := Clock()).get("absent")
    assert clock.pauses == []
