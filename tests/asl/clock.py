"""asyncio in which time passes only when nothing else can happen, and then at once: an hour's wait takes no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skip(selectors.SelectSelector):
    """Does not wait: tells how long it would have waited."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is ready, and nothing is scheduled")
        self.skipped_s += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skip = _Skip()
        super().__init__(self._skip)

    def time(self) -> float:
        return self._skip.skipped_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs ``main`` from time 0, to its end; what it started and did not await is cancelled."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


def now() -> float:
    """Seconds since the start of ``run``."""
    return asyncio.get_running_loop().time()
