import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.ceiling import MIB, Ceiling
from bench.gather import gather
from bench.report import Report
from bench.scatter_reduce import Setting, run
from bench.storage import StoreKind, folders_parent, open_storage
from localaws.state import Emulator
from runtime.errors import FuncpipeError
from runtime.records import Traffic


@pytest.fixture(scope="module")
def embedded() -> Report:
    """Two replicas and little data, through buckets: it shows that everything runs, not how fast."""
    setting = Setting(
        replicas=(2,), gradient_mib=1, mib_s=50, latency_s=0.002, repeats=1, store=StoreKind.EMBEDDED, ceiling_s=0.05
    )
    return run(setting, lambda text: None)


def test_the_emulators_ceiling_is_beside_what_was_used_of_it(embedded: Report) -> None:
    ceiling = ("emulator_puts_s", "emulator_gets_s", "emulator_put_mib_s", "emulator_get_mib_s")
    assert all(embedded.figures[name] > 0 for name in ceiling)
    for name in ("piece", "pipelined", "plain"):
        assert embedded.figures[f"n2_{name}_emulator_use"] > 0
        assert embedded.figures[f"n2_{name}_gets_per_object"] >= 1


def test_no_goals_hold_for_an_emulator(embedded: Report) -> None:
    said = embedded.to_dict()
    assert (said["goals"], said["met"], said["settings"]["store"]) == ({}, False, "embedded")
    assert embedded.lines()[-1] == "no goals hold for these settings"
    json.dumps(said)


def test_what_is_used_of_a_ceiling() -> None:
    ceiling = Ceiling(puts_s=100, gets_s=200, put_mib_s=50, get_mib_s=400)
    assert ceiling.use(Traffic(), 1.0) == 0
    assert ceiling.use(Traffic(puts=100), 2.0) == pytest.approx(0.5)
    assert ceiling.use(Traffic(puts=1, bytes_up=50 * MIB), 1.0) == pytest.approx(1.0), "by bytes, where these are more"
    assert ceiling.use(Traffic(puts=10, gets=20, deletes=20), 1.0) == pytest.approx(0.3), "one server does it all"
    assert ceiling.use(Traffic(gets=1, bytes_down=100 * MIB), 1.0) == pytest.approx(0.25)


def test_folders_are_in_memory_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.storage.IN_MEMORY", tmp_path)
    monkeypatch.setattr("bench.storage.ROOM_BYTES", 1)
    assert folders_parent() == tmp_path
    with open_storage(StoreKind.DIRECTORY) as storage, storage.space():
        assert storage.place == "memory" and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("bench.storage.ROOM_BYTES", 1 << 60)
    assert folders_parent() is None
    monkeypatch.setattr("bench.storage.IN_MEMORY", tmp_path / "none")
    assert folders_parent() is None
    with open_storage(StoreKind.DIRECTORY) as storage:
        assert storage.place == "files"


def test_spaces_are_apart_and_leave_nothing(tmp_path: Path) -> None:
    with open_storage(StoreKind.DIRECTORY, tmp_path) as storage:
        with storage.space() as first, storage.space() as second:
            first.open().put("a/b", b"1")
            assert first.open().get("a/b") == b"1" and not list(second.open().list(""))
        assert not list(tmp_path.iterdir())


def _answer(number: int) -> int:
    if number == 1:
        raise ValueError("one is not wanted")
    if number == 2:
        time.sleep(3600)
    if number == 3:
        os._exit(3)
    return number


def test_processes_answer_in_order() -> None:
    assert gather(_answer, [(5,), (4,)]) == [5, 4]


@pytest.mark.parametrize(("bad", "said"), [(1, "ValueError: one is not wanted"), (3, "ended without a word")])
def test_a_failed_process_ends_the_others(monkeypatch: pytest.MonkeyPatch, bad: int, said: str) -> None:
    monkeypatch.setattr("bench.gather.GRACE_S", 0.1)
    with pytest.raises(FuncpipeError, match=said):
        gather(_answer, [(2,), (bad,)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ended_bench_leaves_no_emulator_and_no_file(tmp_path: Path, number: int) -> None:
    options = ["--store", "embedded", "--replicas", "2", "--repeats", "1000"]
    bench = subprocess.Popen(
        [sys.executable, "-m", "bench", "scatter-reduce", *options],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert bench.stderr is not None
        assert "the emulator alone" in bench.stderr.readline()
        (record,) = tmp_path.glob("funcpipe-bench-*/.funcpipe/local/state.json")
        emulator = Emulator(**json.loads(record.read_text()))
        assert emulator.alive
        bench.send_signal(number)
        assert bench.wait(60) == 130
        assert "interrupted" in bench.stderr.read()
    finally:
        bench.kill()
        bench.communicate()
    assert not emulator.alive
    assert not list(tmp_path.glob("funcpipe-bench-*"))
