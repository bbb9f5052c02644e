"""Two workers' lanes around one store: ranges of large objects, copies of payloads, what is left behind."""

import queue
import threading
import tracemalloc
from concurrent.futures import CancelledError

import pytest
import torch

import runtime.mailbox
import runtime.pacing
from runtime.arrivals import UNKNOWN, Wait
from runtime.codec import encode
from runtime.keys import GangKeys
from runtime.lanes import Lanes
from runtime.mailbox import Cancelled, Mailbox
from runtime.pacing import IN_FLIGHT, range_count
from runtime.store import Body, Store
from runtime.store_directory import DirectoryStore
from runtime.store_memory import MemoryStore
from runtime.store_wrappers import CountingStore, TrafficCounter
from runtime.timeline import Recorder

GANG = GangKeys("run", 0, 0)
KEY = GANG.activation(3, 1)
MIB = 1 << 20


def open_lanes(stage: int, store: Store) -> Lanes:
    mailbox = Mailbox(
        stage=stage,
        inboxes={0: store, 1: store},
        artifacts=MemoryStore(),
        gang=GANG,
        stall_timeout_s=60,
        deadline=float("inf"),
    )
    return Lanes(mailbox, Recorder(stage, 0), stage)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runtime.mailbox, runtime.pacing):
        monkeypatch.setattr(module, "RANGE_BYTES", 1000)


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("elements", [0, 1, 249, 250, 251, 500, 501, 2600])
def test_what_is_sent_in_ranges_arrives_whole_in_as_many_requests_as_planned(elements: int) -> None:
    counter, store = TrafficCounter(), MemoryStore()
    sender, receiver = open_lanes(0, CountingStore(store, counter)), open_lanes(1, CountingStore(store, counter))
    tensor = torch.arange(elements, dtype=torch.float32)
    try:
        sender.send(3, "SF1", 1, KEY, {"a": "text", "t": tensor})
        sender.drain()
        assert counter.traffic.puts == range_count(4 * elements) == max(1, -(-elements // 250))
        assert len(list(store.list(""))) == counter.traffic.puts
        received = receiver.receive(3, "RF1", KEY).result()
        assert received.bundle["a"] == "text" and torch.equal(received.bundle["t"], tensor)
        assert counter.traffic.gets == counter.traffic.puts == received.ranges
        assert counter.traffic.bytes_down == counter.traffic.bytes_up == received.bytes
        receiver.discard(KEY, received.ranges)
        receiver.drain()
        assert list(store.list("")) == []
    finally:
        sender.close()
        receiver.close()


class Meeting(MemoryStore):
    """Requests wait until ``IN_FLIGHT`` of a kind are under way: passes only for who makes so many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.puts, self.gets = threading.Barrier(IN_FLIGHT), threading.Barrier(IN_FLIGHT)

    def put(self, key, body, *, if_absent=False):
        self.puts.wait(30)
        return super().put(key, body, if_absent=if_absent)

    def get(self, key, *, within_s=None, found=None):
        if key != KEY:
            self.gets.wait(30)
        return super().get(key, within_s=within_s, found=found)


@pytest.mark.usefixtures("small_ranges")
def test_ranges_of_one_object_are_under_way_at_once() -> None:
    store = Meeting()
    sender, receiver = open_lanes(0, store), open_lanes(1, store)
    tensor = torch.arange(250 * 2 * IN_FLIGHT, dtype=torch.float32)
    try:
        sender.send(3, "SF1", 1, KEY, {"t": tensor})
        sender.drain()
        for number in range(1, IN_FLIGHT + 1):  # one range more, so that the others come in whole groups
            MemoryStore.put(store, f"{KEY}.{2 * IN_FLIGHT - 1 + number}", b"")
        first, rest = store, [f"{KEY}.{number}" for number in range(1, 2 * IN_FLIGHT + 1)]
        parts = list(receiver._get_ranges(rest))
        whole = b"".join([bytes(MemoryStore.get(first, KEY)), *parts])
        assert whole == bytes(encode({"t": tensor}))
    finally:
        sender.close()
        receiver.close()


@pytest.mark.usefixtures("small_ranges")
def test_what_comes_incomplete_is_refused() -> None:
    store = MemoryStore()
    sender, receiver = open_lanes(0, store), open_lanes(1, store)
    try:
        sender.send(3, "SF1", 1, KEY, {"t": torch.zeros(600)})
        sender.drain()
        store.put(f"{KEY}.2", b"short")
        with pytest.raises(runtime.mailbox.MalformedObject, match="has come as"):
            receiver.receive(3, "RF1", KEY).result()
    finally:
        sender.close()
        receiver.close()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_payload_is_copied_once(tmp_path, way: str) -> None:
    """As bytes on its way up, into memory of its own on its way down; the tensors are views of that."""
    size = 8 * MIB
    store = DirectoryStore(tmp_path)
    sender, receiver = open_lanes(0, store), open_lanes(1, store)
    tensor = torch.ones(size // 4)
    try:
        if way == "down":
            sender.send(3, "SF1", 1, KEY, {"t": tensor})
            sender.drain()
        tracemalloc.start()
        try:
            if way == "up":
                sender.send(3, "SF1", 1, KEY, {"t": tensor})
                sender.drain()
            else:
                received = receiver.receive(3, "RF1", KEY).result()
                assert received.bundle["t"].sum() == size // 4
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size <= peak < 1.1 * size
    finally:
        sender.close()
        receiver.close()


def test_memory_does_not_grow_and_no_thread_stays() -> None:
    """100 objects of 1 MiB; what Python holds after 20 and after 100 differs by less than one: by timeline events."""
    before_threads = threading.active_count()
    store = MemoryStore()
    sender, receiver = open_lanes(0, store), open_lanes(1, store)
    held = []
    tracemalloc.start()
    try:
        for iteration in range(100):
            key = GANG.activation(iteration, 0)
            sender.send(iteration, "SF0", 1, key, {"t": torch.zeros(MIB // 4)})
            receiver.receive(iteration, "RF0", key).result()
            receiver.discard(key)
            sender.drain()
            receiver.drain()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        sender.close()
        receiver.close()
    assert list(store.list("")) == []
    assert held[-1] - held[19] < MIB / 4
    assert max(held[20:]) - min(held[20:]) < MIB / 4
    assert threading.active_count() == before_threads


class SlowBytes(MemoryStore):
    """Tells that an object is there, and gives its bytes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.both, self.let = threading.Event(), threading.Event()

    def get(self, key, *, within_s=None, found=None):
        data = super().get(key, within_s=within_s, found=found)
        self.asked.append(key)
        if len(self.asked) == 2:
            self.both.set()
        assert self.let.wait(30)
        return data


def test_the_next_object_is_asked_for_while_the_bytes_of_the_one_before_still_come() -> None:
    store, keys = SlowBytes(), [GANG.activation(3, 0), GANG.activation(3, 1)]
    sender, receiver = open_lanes(0, store), open_lanes(1, store)
    for key in keys * 3:  # so that each is looked for in its turn, not at once
        receiver._arrivals.learn(key, Wait(UNKNOWN, 2, 0.0, 0.0, 0.005, 0.005))
    try:
        for number, key in enumerate(keys):
            sender.send(3, f"SF{number}", 1, key, {"t": torch.zeros(2)})
        sender.drain()
        under_way = [receiver.receive(3, f"RF{number}", key) for number, key in enumerate(keys)]
        assert store.both.wait(30) and sorted(store.asked) == keys
        store.let.set()
        assert [future.result().bytes > 0 for future in under_way] == [True, True]
    finally:
        store.let.set()
        sender.close()
        receiver.close()


class SlowPut(MemoryStore):
    """Each PUT is told, and takes as long as it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: queue.Queue[str] = queue.Queue()
        self.let = threading.Event()

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        self.begun.put(key)
        assert self.let.wait(30)
        return super().put(key, body, if_absent=if_absent)


def test_what_a_stage_before_waits_for_goes_before_parts_of_the_own_sum() -> None:
    store, gradients = SlowPut(), [GANG.gradient(3, number) for number in range(IN_FLIGHT)]
    lanes, part = open_lanes(1, store), GANG.split(3, 0, 0, 1)
    try:
        for key in gradients[:-1]:
            lanes.send(3, "SB", 0, key, {"t": torch.zeros(2)})
        sum_part = lanes.send_sync(3, part, {"t": torch.zeros(2)})
        lanes.send(3, "SB", 0, gradients[-1], {"t": torch.zeros(2)})
        store.let.set()
        sum_part.result()
        assert [store.begun.get() for _ in range(len(gradients) + 1)][-1] == part
    finally:
        store.let.set()
        lanes.close()


def test_parts_of_the_own_sum_wait_for_a_gradient_that_was_announced() -> None:
    store, gradient, part = SlowPut(), GANG.gradient(3, 0), GANG.split(3, 0, 0, 1)
    store.let.set()
    lanes = open_lanes(1, store)
    try:
        lanes.announce()
        sum_part = lanes.send_sync(3, part, {"t": torch.zeros(2)})
        assert not lanes._sent_all(0.0), "it is not sent yet, though nothing else is under way"
        lanes.send(3, "SB", 0, gradient, {"t": torch.zeros(2)})
        sum_part.result(30)
        assert [store.begun.get(), store.begun.get()] == [gradient, part]
        assert lanes._sent_all(0.0), "an announced one counts once"
    finally:
        lanes.close()


def test_no_more_uploads_are_taken_on_than_the_plan_counts() -> None:
    store, sent = SlowPut(), threading.Semaphore(0)
    lanes = open_lanes(1, store)

    def send() -> None:
        for number in range(IN_FLIGHT + 1):
            lanes.send(3, "SB", 0, GANG.gradient(3, number), {"t": torch.zeros(2)})
            sent.release()

    sending = threading.Thread(target=send)
    try:
        sending.start()
        assert all(sent.acquire(timeout=30) for _ in range(IN_FLIGHT))
        assert all(store.begun.get(timeout=30) for _ in range(IN_FLIGHT))
        assert sending.is_alive() and store.begun.empty()
        store.let.set()
        assert sent.acquire(timeout=30)
    finally:
        store.let.set()
        sending.join(30)
        lanes.close()


def test_a_part_of_the_sum_that_waits_ends_with_the_lanes() -> None:
    store = SlowPut()
    lanes = open_lanes(1, store)
    lanes.send(3, "SB0", 0, GANG.gradient(3, 0), {"t": torch.zeros(2)})
    waiting = lanes.send_sync(3, GANG.split(3, 0, 0, 1), {"t": torch.zeros(2)})
    closing = threading.Thread(target=lanes.close)
    closing.start()
    with pytest.raises((Cancelled, CancelledError)):
        waiting.result(30)
    store.let.set()
    closing.join(30)
    assert not closing.is_alive()


def test_in_sequence_an_upload_is_waited_for_and_nothing_is_requested_ahead() -> None:
    store = MemoryStore()
    lanes = Lanes(open_lanes(0, store)._mailbox, Recorder(0, 0), 0, in_sequence=True)
    try:
        lanes.send(3, "SF1", 1, KEY, {"t": torch.zeros(2)})
        assert list(store.list("")) == [KEY], "it is there when the call returns"
        assert lanes.ahead == 1
    finally:
        lanes.close()
