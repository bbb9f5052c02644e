import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from runtime.barrier import LEADER, claim, meet
from runtime.keys import GangKeys
from runtime.mailbox import Mailbox, Stalled
from runtime.outcome import GangAborted
from runtime.records import Abort, Go, Ready
from runtime.store import KeyNotFound
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import CountingStore, TrafficCounter

GANG = GangKeys("run", 0, 0)
WORKERS = [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)]


def mailbox(store, **options):
    return Mailbox(
        stage=0,
        inboxes={0: store},
        artifacts=store,
        gang=GANG,
        **{"stall_timeout_s": 60, "deadline": float("inf"), **options},
    )


def come_together(box, worker, workers):
    """What the leader tells here is how many workers it has heard of."""
    ready = Ready(at=0.0, remaining_s=1.0, billed_s=0.0)
    plan = (lambda told: Go(remaining_s=len(told))) if worker == LEADER else None
    return meet(box, worker, ready, workers, plan)


def test_nobody_begins_before_the_last_one_is_there(tmp_path):
    """Looked at from the store: the word to go is given after the last sign of being ready, whoever is last."""
    for late in WORKERS:
        counter, store = TrafficCounter(), DirectoryStore(tmp_path / str(late))
        begun = threading.Event()

        def come(worker, store=store, counter=counter, begun=begun):
            assert come_together(mailbox(CountingStore(store, counter)), worker, WORKERS).remaining_s == 6
            begun.set()

        with ThreadPoolExecutor(len(WORKERS)) as pool:
            early = [pool.submit(come, worker) for worker in WORKERS if worker != late]
            signs = {GANG.ready(*worker) for worker in WORKERS[1:] if worker != late}
            while not signs <= set(store.list("")):
                assert not begun.is_set()
            with pytest.raises(KeyNotFound):
                store.get(GANG.go)
            assert not begun.is_set()
            come(late)
            wait(early)
            assert all(future.exception() is None for future in early)
        traffic = counter.traffic
        assert traffic.puts == len(WORKERS), "one object per worker"
        assert traffic.gets - traffic.empty_gets == 2 * (len(WORKERS) - 1) and traffic.lists == 0


def test_a_lone_worker_asks_for_nothing(tmp_path):
    counter = TrafficCounter()
    come_together(mailbox(CountingStore(DirectoryStore(tmp_path), counter)), (0, 0), [(0, 0)])
    assert counter.traffic == TrafficCounter().traffic


def test_who_never_comes_is_named(tmp_path):
    with pytest.raises(Stalled, match=r"ready/001-0000\.json did not appear"):
        come_together(mailbox(DirectoryStore(tmp_path), stall_timeout_s=0), (0, 0), [(0, 0), (1, 0)])


def test_the_attempts_outcome_ends_the_waiting(tmp_path):
    store = DirectoryStore(tmp_path)
    store.put(
        GANG.outcome,
        Abort(reason="stopped", retryable=False, message="enough", begun_at=0.0, at=0.0).model_dump_json().encode(),
    )
    with pytest.raises(GangAborted, match="enough"):
        come_together(mailbox(store), (1, 0), [(0, 0), (1, 0)])


def test_of_several_invocations_of_a_worker_exactly_one_proceeds(tmp_path):
    store = DirectoryStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: claim(store, GANG, (1, 0), "the-same-request"), range(8)))
    assert sorted(told) == [False] * 7 + [True]
    assert claim(store, GangKeys("run", 0, 1), (1, 0), "another attempt")


class AnswersLate(DirectoryStore):
    """Whose conditional PUT is done, and then repeated because the answer was lost."""

    def put(self, key, body, *, if_absent=False):
        super().put(key, body, if_absent=if_absent)
        return super().put(key, body, if_absent=if_absent)


def test_a_claim_that_storage_has_answered_twice_is_still_its_writers(tmp_path):
    assert claim(AnswersLate(tmp_path), GANG, (1, 0), "a")
    assert not claim(AnswersLate(tmp_path), GANG, (1, 0), "b")
