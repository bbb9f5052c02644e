"""Measuring a store leaves nothing in it, and what was measured becomes a platform."""

import json

import pytest

from planner.calibration import OBJECTS, Measured, base_document, calibrated, measure_store
from planner.platform_format import parse_platform
from planner.platforms import PLATFORMS, platform_of
from runtime.errors import UserInputError
from runtime.store_directory import DirectoryStore
from runtime.store_memory import MemoryStore


class Interrupting(MemoryStore):
    """Ctrl-C comes while the request of that number is under way, after it has done its work."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at
        self.puts = 0

    def put(self, key, body, *, if_absent=False):
        stored = super().put(key, body, if_absent=if_absent)
        self.puts += 1
        self._count()
        return stored

    def get(self, key, **options):
        data = super().get(key, **options)
        self._count()
        return data

    def _count(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_store_is_measured_and_left_as_it_was(tmp_path):
    store = DirectoryStore(tmp_path)
    store.put("theirs", b"x")
    found = measure_store(store, repeats=2, object_bytes=10_000)
    assert list(store.list("")) == ["theirs"]
    assert min(found.get_latency_s, found.put_latency_s, found.download, found.upload) > 0
    assert (found.repeats, found.object_bytes) == (2, 10_000)


@pytest.mark.parametrize("at", [1, 2, 3, 7, 4 + OBJECTS // 2, 4 + 2 * OBJECTS - 1])
def test_ctrl_c_leaves_no_objects(at):
    store = Interrupting(at)
    with pytest.raises(KeyboardInterrupt):
        measure_store(store, repeats=2, object_bytes=1_000)
    assert store.puts > 0
    assert list(store.list("")) == []


MEASURED = Measured(
    get_latency_s=0.005, put_latency_s=0.007, download=2e8, upload=1e8, repeats=5, object_bytes=16 << 20
)


def update(document, measured=MEASURED, memory_mb=1769, again=False):
    return calibrated(
        document, measured, name="mine", memory_mb=memory_mb, url="s3://b", day="2026-11-26", update=again
    )


def test_what_was_measured_stands_in_the_file_and_the_rest_is_the_bases():
    platform = platform_of(parse_platform(update(base_document("aws-lambda")), "mine"))
    base = PLATFORMS["aws-lambda"]
    assert (platform.name, platform.get_latency_s, platform.put_latency_s) == ("mine", 0.005, 0.007)
    assert (platform.bandwidth(512), platform.upload_bandwidth(9_000)) == (2e8, 1e8)
    assert (platform.puts_per_s, platform.prices, platform.start_up_s) == (
        base.puts_per_s,
        base.prices,
        base.start_up_s,
    )
    assert platform.burst is None


def test_another_memory_size_is_added_and_the_same_is_replaced():
    first = json.loads(update(base_document("aws-lambda")))
    faster = Measured(0.005, 0.007, 4e8, 3e8, 5, 16 << 20)
    second = json.loads(update(first, faster, memory_mb=4096, again=True))
    assert second["links"]["download"] == [[1769, 2e8], [4096, 4e8]]
    third = json.loads(update(second, faster, memory_mb=1769, again=True))
    assert third["links"]["download"] == [[1769, 4e8], [4096, 4e8]]
    assert third["links"]["upload"] == [[1769, 3e8], [4096, 3e8]]


def test_bandwidth_that_fell_with_memory_by_chance_is_evened_out():
    first = json.loads(update(base_document("aws-lambda")))
    slower = Measured(0.005, 0.007, 1e8, 1e8, 5, 16 << 20)
    assert json.loads(update(first, slower, 4096, again=True))["links"]["download"] == [[1769, 1.5e8], [4096, 1.5e8]]


def test_a_base_that_is_none_is_named():
    with pytest.raises(UserInputError, match=r"azure: No such file.*aws-lambda-scaled"):
        base_document("azure")
