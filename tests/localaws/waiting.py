"""Waiting for what must happen, without assuming when."""

import time
from collections.abc import Callable

DEADLINE_S = 60.0
"""Long past any honest delay on a loaded machine: only a failing test waits that long."""


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s for this: {what}"
        time.sleep(0.01)
