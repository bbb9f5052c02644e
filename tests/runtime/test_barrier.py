import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from runtime.barrier import meet
from runtime.keys import GangKeys
from runtime.mailbox import GangAborted, Mailbox, Stalled
from runtime.records import Abort
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


def test_nobody_begins_before_the_last_one_is_there(tmp_path):
    """Looked at from the store: the word to go is given after the last sign of being ready, whoever is last."""
    for late in WORKERS:
        counter, store = TrafficCounter(), DirectoryStore(tmp_path / str(late))
        begun = threading.Event()

        def come(worker, store=store, counter=counter, begun=begun):
            meet(mailbox(CountingStore(store, counter)), worker, WORKERS)
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
    meet(mailbox(CountingStore(DirectoryStore(tmp_path), counter)), (0, 0), [(0, 0)])
    assert counter.traffic == TrafficCounter().traffic


def test_who_never_comes_is_named(tmp_path):
    with pytest.raises(Stalled, match="ready/001-0000 did not appear"):
        meet(mailbox(DirectoryStore(tmp_path), stall_timeout_s=0), (0, 0), [(0, 0), (1, 0)])


def test_the_abort_marker_ends_the_waiting(tmp_path):
    store = DirectoryStore(tmp_path)
    store.put(GANG.abort, Abort(reason="stopped", message="enough", at=0.0).model_dump_json().encode())
    with pytest.raises(GangAborted, match="enough"):
        meet(mailbox(store), (1, 0), [(0, 0), (1, 0)])
