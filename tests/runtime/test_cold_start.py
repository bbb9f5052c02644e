"""The order of a new environment's first steps, and the store that fetches ahead."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.cold_start import StoreAhead
from runtime.records import WorkerEvent
from runtime.store import KeyNotFound, StoreUnavailable
from runtime.store_memory import MemoryStore
from runtime.store_wrappers import CountingStore, TrafficCounter
from tests.gangs import SOURCE, FixtureRun

ROOT = Path(__file__).resolve().parents[2]
INVOKE = """
import importlib.abc, json, os, sys, threading
from types import SimpleNamespace

import runtime.handler
from runtime.store_directory import DirectoryStore

assert "torch" not in sys.modules, "the entry alone needs no torch"
asked, changed, get = [], threading.Condition(), DirectoryStore.get


def told(store, key, **options):
    data = get(store, key, **options)
    with changed:
        asked.append(key)
        changed.notify_all()
    return data


class Torch(importlib.abc.MetaPathFinder):
    # torch is not found before all layers have been read: whoever imports it first never gets there.
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            with changed:
                there = changed.wait_for(lambda: sum("/layers/" in key for key in asked) == int(sys.argv[2]), 60)
            assert there, asked
            asked.append("torch")
        return None


DirectoryStore.get = told
sys.meta_path.insert(0, Torch())
context = SimpleNamespace(aws_request_id="the-request", get_remaining_time_in_millis=lambda: 300_000)
runtime.handler.handler(json.loads(sys.argv[1]), context)
print(json.dumps(asked))
"""


def test_weights_come_down_before_torch_is_imported_and_only_once(tmp_path: Path) -> None:
    run = FixtureRun(tmp_path, model="tiny:build", model_args={}, layers=[8], iterations=2)
    event = {"run": run.run, "segment": 0, "attempt": 0, "stage": 0, "replica": 0, "commit": "initial"}
    event["manifest_sha256"] = run.manifest.sha256
    surroundings = {
        **os.environ,
        "FUNCPIPE_STAGE": "0",
        "FUNCPIPE_ARTIFACTS_URL": run.gang.artifacts_url,
        "FUNCPIPE_INBOX_URLS": json.dumps({"0": (run.root / "inbox").as_uri()}),
        "FUNCPIPE_SOURCE": str(SOURCE),
        "FUNCPIPE_THREADS": "1",
    }
    layers = run.manifest.stages[0].end_layer
    done = subprocess.run(
        [sys.executable, "-c", INVOKE, json.dumps(event), str(layers)],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asked = json.loads(done.stdout.splitlines()[-1])
    reads = [key for key in asked if "/layers/" in key]
    assert len(reads) == len(set(reads)) == layers
    assert asked.count(f"runs/{run.run}/manifest.json") == 1
    assert len(run.summaries[0].losses) == 2, "and it has trained"


def test_what_is_fetched_is_handed_over_once() -> None:
    counter, store = TrafficCounter(), MemoryStore()
    ahead = StoreAhead(CountingStore(store, counter))
    store.put("a", b"1")
    ahead.fetch("a").result()
    store.put("a", b"2")
    found = []
    assert ahead.get("a", found=found.append) == b"1" and found == [None]
    assert ahead.get("a") == b"2", "asked for again, it is read again"
    assert counter.traffic.gets == 2
    ahead.close()


def test_what_is_not_there_is_told_to_whoever_asks() -> None:
    ahead = StoreAhead(MemoryStore())
    ahead.fetch("a")
    with pytest.raises(KeyNotFound):
        ahead.get("a")
    ahead.close()


def test_a_wait_for_what_is_under_way_has_an_end() -> None:
    let = threading.Event()

    class Slow(MemoryStore):
        def get(self, key, *, within_s=None, found=None):
            assert let.wait(30)
            return b"late"

    ahead = StoreAhead(Slow())
    ahead.fetch("a")
    with pytest.raises(StoreUnavailable, match="GET a: it has not come in 0 s"):
        ahead.get("a", within_s=0.01)
    let.set()
    ahead.close()


def test_a_run_that_is_not_there_leaves_no_thread_and_no_error() -> None:
    before = set(threading.enumerate())
    ahead = StoreAhead(MemoryStore())
    ahead.fetch_stage(
        WorkerEvent(run="run", segment=0, attempt=0, stage=0, replica=0, manifest_sha256="0" * 64, commit="initial")
    )
    ahead.close()
    assert set(threading.enumerate()) <= before
