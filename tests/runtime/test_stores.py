from uuid import uuid4

import pytest

from runtime.errors import UserInputError
from runtime.records import Traffic
from runtime.store import KeyNotFound
from runtime.store_directory import DirectoryStore
from runtime.store_faults import FaultKind, FaultRule, FaultSpec, FaultyStore
from runtime.store_memory import MemoryStore
from runtime.store_retries import RetryingStore
from runtime.store_s3 import S3Store
from runtime.store_urls import open_store
from runtime.store_wrappers import CountingStore, Link, LinkSpec, ThrottledStore, TrafficCounter
from tests.store_contract import StoreContract


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryStore(tmp_path / "store")


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestFaultyStoreWithoutFaults(StoreContract):
    @pytest.fixture
    def store(self):
        return FaultyStore(MemoryStore(), FaultSpec())


class TestRetriesAroundAStoreThatOftenFails(StoreContract):
    """A third of all requests is refused, a third of all PUTs is done but not answered, GETs break."""

    @pytest.fixture
    def store(self):
        rules = [
            FaultRule(kind=FaultKind.THROTTLED, share=1 / 3),
            FaultRule(kind=FaultKind.UNANSWERED_PUT, share=1 / 3),
            FaultRule(kind=FaultKind.READ_ERROR, share=1 / 3),
        ]
        return RetryingStore(FaultyStore(MemoryStore(), FaultSpec(rules=tuple(rules))), sleep=lambda seconds: None)


class TestS3Store(StoreContract):
    """On the embedded AWS."""

    @pytest.fixture
    def store(self, emulator):
        client, bucket = emulator.client("s3"), f"contract-{uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket)
        yield S3Store(bucket, client)
        for item in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=item["Key"])
        client.delete_bucket(Bucket=bucket)


class TestCountingStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return CountingStore(DirectoryStore(tmp_path), TrafficCounter())


class TestThrottledStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return ThrottledStore(DirectoryStore(tmp_path), Link(LinkSpec()))


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", ".incoming/x", "a\0b"])
def test_a_directory_store_stays_in_its_folder(tmp_path, key):
    with pytest.raises(ValueError, match="not a storable key"):
        DirectoryStore(tmp_path).put(key, b"")


def test_no_temporary_file_is_left(tmp_path):
    store = DirectoryStore(tmp_path)
    store.put("k", b"1", if_absent=True)
    store.put("k", b"2", if_absent=True)
    store.put("k", b"3")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["k"]


def test_every_request_is_counted(tmp_path):
    counter = TrafficCounter()
    store = CountingStore(DirectoryStore(tmp_path), counter)
    store.put("a", b"12345")
    store.get("a")
    with pytest.raises(KeyNotFound):
        store.get("b")
    store.delete("a")
    list(store.list(""))
    assert counter.traffic == Traffic(puts=1, gets=2, empty_gets=1, deletes=1, lists=1, bytes_up=5, bytes_down=5)


class Clock:
    """Time that passes only in ``sleep``."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_throttled_store_takes_the_link_s_time(tmp_path):
    clock = Clock()
    spec = LinkSpec(upload_bytes_s=1000, download_bytes_s=500, latency_s=0.1)
    store = ThrottledStore(DirectoryStore(tmp_path), Link(spec, clock=clock, sleep=clock.sleep))
    store.put("k", bytes(2000))
    assert clock.now - 100 == pytest.approx(0.1 + 2)
    store.get("k")
    assert clock.now - 100 == pytest.approx(0.1 + 2 + 0.1 + 4)
    with pytest.raises(KeyNotFound):
        store.get("absent")
    assert clock.now - 100 == pytest.approx(6.3)


def test_after_a_rest_a_burst_passes_at_once_and_the_rest_at_the_rate():
    clock, waits = Clock(), []
    link = Link(LinkSpec(upload_bytes_s=100, upload_burst_bytes=300), clock=clock, sleep=waits.append)
    for size in (200, 200, 50):
        link.up.transfer(size, clock())
    assert waits == [1.0, 1.5], "300 bytes at once, then 100 bytes a second"
    clock.now += 2.5  # 250 bytes have been filled in, 150 of which are owed
    link.up.transfer(200, clock())
    assert waits[2:] == [1.0]


def test_a_connection_has_its_own_rate_and_several_share_the_link():
    clock, waits = Clock(), []
    link = Link(LinkSpec(download_bytes_s=100, connection_bytes_s=40), clock=clock, sleep=waits.append)
    for _ in range(4):
        link.down.transfer(80, clock())
    assert waits == [2.0, 2.0, pytest.approx(2.4), pytest.approx(3.2)]


def test_latencies_are_spread_around_their_median_and_repeat_with_the_seed():
    def latencies(seed):
        waits = []
        link = Link(LinkSpec(latency_s=0.03, latency_sigma=0.5, seed=seed), sleep=waits.append)
        for _ in range(2001):
            link.request()
        return waits

    first = sorted(latencies(1))
    assert first[1000] == pytest.approx(0.03, rel=0.05)
    assert first[1980] == pytest.approx(0.03 * 2.718 ** (0.5 * 2.326), rel=0.2), "the 99th percentile"
    assert latencies(1) == latencies(1) != latencies(2)


def test_transfers_of_one_direction_take_turns():
    clock, waits = Clock(), []
    link = Link(LinkSpec(upload_bytes_s=100), clock=clock, sleep=waits.append)
    link.up.transfer(100, clock())
    link.up.transfer(100, clock())  # at the same instant: it waits for the first
    link.down.transfer(10**9, clock())  # the other direction is not limited
    assert waits == [1.0, 2.0]


def test_bytes_flow_while_the_store_reads():
    clock, waits = Clock(), []
    link = Link(LinkSpec(download_bytes_s=100), clock=clock, sleep=waits.append)
    begun = link.down.begin()
    clock.now += 0.75  # the store reads
    link.down.transfer(100, begun)
    link.down.transfer(0, begun)
    assert waits == [0.25, 0.25]
    clock.now += 2
    link.down.transfer(100, begun)  # the line was free meanwhile; what has long flown is not waited for
    assert len(waits) == 2


@pytest.mark.parametrize("url", ["", "file://", "file:///", "s3://", "s3://bucket/prefix", "http://x", "/tmp/x"])
def test_a_url_that_names_no_store_is_refused(url):
    with pytest.raises(UserInputError, match="a store is"):
        open_store(url)


def test_file_urls_may_hold_spaces(tmp_path):
    folder = tmp_path / "with space"
    open_store(folder.as_uri()).put("k", b"1")
    assert (folder / "k").read_bytes() == b"1"
