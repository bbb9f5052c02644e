import subprocess
import sys
from pathlib import Path

from localaws import processes
from localaws.guardian import Guardian
from tests.localaws.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
SERVER_THAT_DIES = """
import os, subprocess, sys
from localaws.guardian import Guardian
guardian = Guardian()
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
groups = [subprocess.Popen(sleep, start_new_session=True, stdout=subprocess.DEVNULL).pid for _ in range(3)]
for group in groups:
    guardian.watch(group)
guardian.forget(groups[2])
print(*groups, flush=True)
os.kill(os.getpid(), 9)
"""


def test_ends_what_a_killed_server_leaves_behind() -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER_THAT_DIES], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    first, second, forgotten = (int(word) for word in server.stdout.readline().split())
    server.wait()
    try:
        for group in (first, second):
            wait_until(lambda group=group: processes.start_time(group) is None, f"process group {group} ends")
        assert processes.start_time(forgotten) is not None
    finally:
        processes.kill_group(forgotten)


def test_closing_it_ends_what_it_watches() -> None:
    guardian = Guardian()
    child = subprocess.Popen(SLEEP, start_new_session=True)
    guardian.watch(child.pid)
    guardian.close()
    assert child.wait() == -9
    guardian.watch(child.pid)
    guardian.forget(child.pid)
