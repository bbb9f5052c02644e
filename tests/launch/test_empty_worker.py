"""What a worker takes before it holds anything: what is measured, and a process that does not tell."""

import os
import time

import pytest

import launch.empty_worker
from launch.worker_context import worker_context
from runtime.errors import FuncpipeError

MORE_BYTES = 400 * 2**20
train_a_little = launch.empty_worker._train_a_little


def hold_more(connection):
    held = bytearray(b"x") * MORE_BYTES  # written, so resident
    train_a_little(connection)
    del held


def end_without_a_word(connection):
    os._exit(3)


def say_nothing(connection):
    time.sleep(600)  # until it is killed


def test_it_is_the_peak_of_the_process_itself_in_bytes(monkeypatch):
    found = launch.empty_worker.empty_worker_bytes()
    monkeypatch.setattr(launch.empty_worker, "_train_a_little", hold_more)
    more = launch.empty_worker.empty_worker_bytes() - found
    # The fork that holds more also imports this module.
    assert 0.9 * MORE_BYTES < more < 1.5 * MORE_BYTES


@pytest.mark.parametrize(
    ("does", "patience_s", "mentions"),
    [
        (end_without_a_word, 120.0, "its process ended without a word"),
        (say_nothing, 0.0, "took more than 0 s; try again"),
    ],
)
def test_a_process_that_does_not_tell_is_an_error_and_does_not_stay(monkeypatch, does, patience_s, mentions):
    monkeypatch.setattr(launch.empty_worker, "_train_a_little", does)
    monkeypatch.setattr(launch.empty_worker, "PATIENCE_S", patience_s)
    started = []
    context = worker_context()
    monkeypatch.setattr(launch.empty_worker, "worker_context", lambda: context)
    plain = context.Process

    def noted(**options):
        started.append(plain(**options))
        return started[-1]

    monkeypatch.setattr(context, "Process", noted, raising=False)
    with pytest.raises(FuncpipeError, match=mentions):
        launch.empty_worker.empty_worker_bytes()
    assert [process.is_alive() for process in started] == [False]
