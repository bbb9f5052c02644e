import os
import subprocess
import sys

from localaws import processes

HOLD_50_MB = "import sys; block = b'x' * (50 << 20); print(flush=True); sys.stdin.read()"


def test_start_time_stays_the_same_and_ends_with_the_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = processes.start_time(child.pid)
    assert started is not None
    assert processes.start_time(child.pid) == started
    assert processes.start_time(os.getpid()) not in (None, started)
    child.communicate()
    assert processes.start_time(child.pid) is None


def test_a_process_that_awaits_being_reaped_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(child.pid) is None
    child.communicate()


def test_resident_memory_includes_children() -> None:
    parent = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {HOLD_50_MB!r}], stdin=subprocess.PIPE); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # written by the child, when it holds its block
        assert processes.resident_bytes(process.pid) > 50 << 20
        process.stdin.close()


def test_the_peak_outlasts_the_memory() -> None:
    code = "import sys; b'x' * (50 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        peak = processes.peak_resident_bytes(process.pid)
        # Systems without /proc keep no account of it.
        assert peak > 50 << 20 if sys.platform == "linux" else peak == 0
        process.stdin.close()


def test_of_no_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert processes.resident_bytes(child.pid) == 0
    assert processes.peak_resident_bytes(child.pid) == 0
    processes.kill_group(child.pid)
