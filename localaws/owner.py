"""Ends this process when the one that started it for itself is gone, however that went: killed, too.

A look once a second, rather than a pipe: of a pipe, processes that the owner forks hold the other end as well.
"""

import os
import signal
import threading
import time

from localaws.processes import start_time

LOOK_S = 1.0
GRACE_S = 10.0
"""Which this process has to end in good order."""


def end_with(pid: int, started: str) -> None:
    """Begins to watch process ``pid``, which started at ``started`` (``processes.start_time``)."""
    threading.Thread(target=_watch, args=(pid, started), name="owner", daemon=True).start()


def _watch(pid: int, started: str) -> None:
    while start_time(pid) == started:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
