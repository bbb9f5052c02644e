"""What every store must do; a test class per store inherits it."""

import threading
import time
from collections.abc import Iterator

import pytest

from runtime.keys import GangKeys
from runtime.store import KeyNotFound, Store


class StoreContract:
    """Subclasses provide the fixture ``store``: an empty store."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        raise AssertionError("a subclass provides the store")

    def test_get_returns_what_was_put(self, store: Store) -> None:
        for body in (b"", b"x", bytes(range(256)) * 5000):
            assert store.put("a/b/c", body)
            assert store.get("a/b/c") == body

    def test_put_takes_any_buffer(self, store: Store) -> None:
        store.put("a", bytearray(b"one"))
        store.put("b", memoryview(b"xtwox")[1:4])
        assert (store.get("a"), store.get("b")) == (b"one", b"two")

    def test_what_was_got_is_the_caller_s_own_and_what_was_put_is_the_store_s(self, store: Store) -> None:
        body = bytearray(b"one")
        store.put("a", body)
        body[:] = b"two"
        got = bytearray(store.get("a"))
        got[:] = b"six"
        assert store.get("a") == b"one"

    def test_large_objects_are_whole_whatever_holds_them(self, store: Store) -> None:
        body = bytes(range(251)) * 20_000  # 5 MB, and no power of two
        for key, kind in (("bytes", bytes), ("bytearray", bytearray), ("memoryview", memoryview)):
            store.put(key, kind(body))
            assert store.get(key) == body

    def test_held_tells_size_and_time_of_what_begins_with_a_prefix(self, store: Store) -> None:
        before = time.time()
        for key, body in (("a/2", b"xyz"), ("a/1", b""), ("b", b"1")):
            store.put(key, body)
        store.put("a/2", b"xy")
        held = list(store.held("a/"))
        assert [(found.key, found.bytes) for found in held] == [("a/1", 0), ("a/2", 2)]
        # S3 tells whole seconds, and its clock need not be this one's.
        assert all(before - 5 < found.at < time.time() + 5 for found in held)
        assert list(store.held("c")) == []

    def test_put_replaces(self, store: Store) -> None:
        store.put("k", b"a longer one")
        store.put("k", b"2")
        assert store.get("k") == b"2"

    def test_get_within_a_time(self, store: Store) -> None:
        store.put("k", b"1")
        assert store.get("k", within_s=60.0) == b"1"
        with pytest.raises(KeyNotFound):
            store.get("absent", within_s=60.0)

    def test_get_tells_that_the_object_is_there(self, store: Store) -> None:
        told: list[float | None] = []
        store.put("k", b"1")
        assert store.get("k", found=told.append) == b"1" and len(told) == 1
        with pytest.raises(KeyNotFound):
            store.get("absent", found=told.append)
        assert len(told) == 1

    def test_get_tells_since_when_an_object_of_an_iteration_is_there(self, store: Store) -> None:
        """As far as the store knows: at the latest from the second iteration on."""
        told: list[float | None] = []
        for iteration in range(2):
            key = GangKeys("run", 0, 0).activation(iteration, 3)
            before = time.time()
            store.put(key, b"1")
            assert store.get(key, found=told.append) == b"1"
        assert told[-1] is not None
        # The clocks of files go in ticks of some milliseconds; S3's senders say when a PUT is likely to be done.
        assert before - 0.1 < told[-1] < time.time() + 5.0

    def test_an_absent_key_is_not_found(self, store: Store) -> None:
        store.put("a/b", b"1")
        for key in ("b", "a", "a/b/c"):
            with pytest.raises(KeyNotFound):
                store.get(key)

    def test_delete_removes_and_may_be_repeated(self, store: Store) -> None:
        store.put("a/b", b"1")
        store.delete("a/b")
        store.delete("a/b")
        with pytest.raises(KeyNotFound):
            store.get("a/b")

    def test_list_is_sorted_and_by_prefix(self, store: Store) -> None:
        for key in ("run/2", "run/10", "runs/1", "other"):
            store.put(key, b"")
        assert list(store.list("run")) == ["run/10", "run/2", "runs/1"]
        assert list(store.list("run/")) == ["run/10", "run/2"]
        assert list(store.list("none")) == []

    def test_conditional_put_keeps_the_first(self, store: Store) -> None:
        assert store.put("k", b"first", if_absent=True)
        assert not store.put("k", b"second", if_absent=True)
        assert store.get("k") == b"first"

    def test_of_many_conditional_puts_one_wins(self, store: Store) -> None:
        outcomes: list[tuple[bool, bytes]] = []
        ready = threading.Barrier(8)

        def attempt(body: bytes) -> None:
            ready.wait()
            outcomes.append((store.put("k", body, if_absent=True), body))

        threads = [threading.Thread(target=attempt, args=(str(i).encode(),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [body for won, body in outcomes if won]
        assert len(outcomes) == 8
        assert winners == [store.get("k")]
