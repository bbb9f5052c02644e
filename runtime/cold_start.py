"""A new environment's first seconds: the stage's weights come down while torch is imported.

    this thread    import torch, the worker ──────────────┐ claim ─ manifest ─ commit ─ layers: most are there already
    others         manifest ─ commit ─ layer 3, 4, 5 ... ─┴──►

Bytes need no torch until they become tensors. The worker asks its store as always; what is under way or there is not
asked for again. So nothing depends on this: whatever fails here, fails again where it is needed, and is told there.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from runtime import keys
from runtime.manifest import parse_manifest
from runtime.pacing import IN_FLIGHT
from runtime.records import Commit, WorkerEvent, parse_outcome
from runtime.store import Body, Data, Found, Held, Store, StoreUnavailable


class StoreAhead(Store):
    """A store of which some objects are fetched before they are asked for, IN_FLIGHT at a time.

    Each is handed over once. What has been fetched is held until then: no more than a stage's weights and optimiser
    state, at a time when their gradients and activations take no memory yet.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, threading.Lock()
        self._threads = ThreadPoolExecutor(IN_FLIGHT, "ahead")
        self._fetched: dict[str, Future[Data]] = {}

    def fetch(self, key: str) -> "Future[Data]":
        """Begins to fetch an object."""
        with self._lock:
            if key not in self._fetched:
                self._fetched[key] = self._threads.submit(self._store.get, key)
            return self._fetched[key]

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        with self._lock:
            fetched = self._fetched.pop(key, None)
        if fetched is None:
            return self._store.get(key, within_s=within_s, found=found)
        try:
            data = fetched.result(within_s)
        except TimeoutError:
            raise StoreUnavailable(f"GET {key}: it has not come in {within_s:.0f} s") from None
        if found is not None:
            found(None)
        return data

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        return self._store.put(key, body, if_absent=if_absent)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def held(self, prefix: str) -> Iterator[Held]:
        return self._store.held(prefix)

    def close(self) -> None:
        """Ends the threads, and lets go of what nobody has asked for."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._fetched.clear()

    def fetch_stage(self, event: WorkerEvent) -> None:
        """Begins to fetch what ``event``'s worker will read first: its run's manifest, the commit that it goes on from,
        its layers."""
        self._threads.submit(self._fetch_stage, event)

    def _fetch_stage(self, event: WorkerEvent) -> None:
        manifest_key = keys.manifest(event.run)
        committed = self.fetch(keys.commit(event.run, event.commit))
        stage = parse_manifest(self.fetch(manifest_key).result(), manifest_key).stages[event.stage]
        commit = parse_outcome(committed.result())
        if isinstance(commit, Commit):
            for name in commit.layers[stage.first_layer : stage.end_layer]:
                self.fetch(keys.layer(event.run, name))
