"""Where a segment ends: decided by the gang's leader while it runs, heard of in time by all others (docs/protocol.md).

leader      ... c ── writes end = c + LEAD ── c+1 ── c+2 ── c+3 │
others      ... c ── c+1 ── c+2: asks ── c+3 │            all have done c+3, nobody has begun c+4
                                 answered ──┘
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future

from runtime.records import End, EndReason

LEAD = 4
"""Iterations from the one before which the leader writes the end to the end itself; docs/protocol.md says why 4."""


class SegmentEnd(ABC):
    """What one worker knows of its segment's end.

    Args:
        first: iteration that the segment begins with.
        limit: iteration before which it ends in any case, as all workers know.
        at_limit: why it would end there.
    """

    def __init__(self, first: int, limit: int, at_limit: EndReason) -> None:
        self.first, self._limit = first, limit
        self._decided: int | None = None
        self.reason = at_limit
        self._certain = first + LEAD

    @property
    def limit(self) -> int:
        """Iteration before which the segment ends at the latest, as far as is known."""
        return self._limit if self._decided is None else self._decided

    @property
    def certain(self) -> int:
        """Iterations before this one are part of the segment, whatever the leader decides from now on."""
        return self.limit if self._decided is not None else min(self._certain, self._limit)

    @abstractmethod
    def includes(self, iteration: int) -> bool:
        """Whether ``iteration`` is part of the segment. To be asked at the start of each iteration, in order."""

    def _end_before(self, end: End) -> None:
        if end.iteration <= self._limit:
            self._decided, self.reason = end.iteration, end.reason


class LeadersEnd(SegmentEnd):
    """The leader's: it decides.

    Args:
        allowance: how many iterations, from the one about to begin, time and money allow; and which of them ends it.
        tell: makes an end known to the others; returns when storage has it.
    """

    def __init__(
        self,
        first: int,
        limit: int,
        at_limit: EndReason,
        *,
        allowance: Callable[[], tuple[float, EndReason]],
        tell: Callable[[End], None],
    ) -> None:
        super().__init__(first, limit, at_limit)
        self._allowance, self._tell = allowance, tell

    def includes(self, iteration: int) -> bool:
        if self._decided is None and iteration + LEAD < self._limit:
            allowed, reason = self._allowance()
            if allowed <= LEAD:
                end = End(iteration=iteration + LEAD, reason=reason)
                self._tell(end)
                self._end_before(end)
        self._certain = iteration + 1 + LEAD
        return iteration < self.limit


class FollowersEnd(SegmentEnd):
    """Everybody else's: they ask.

    Args:
        ask: looks for the leader's word, in the background.
    """

    def __init__(self, first: int, limit: int, at_limit: EndReason, *, ask: Callable[[], "Future[End | None]"]) -> None:
        super().__init__(first, limit, at_limit)
        self._ask = ask
        self._asked: tuple[int, Future[End | None]] | None = None

    def includes(self, iteration: int) -> bool:
        self._hear(wait=False)
        if self._decided is None and self._certain < self._limit and self._asked is None:
            self._asked = (iteration, self._ask())
        while iteration >= self.certain and self._decided is None and iteration < self._limit:
            if self._asked is None:
                self._asked = (iteration, self._ask())
            self._hear(wait=True)
        return iteration < self.limit

    def _hear(self, *, wait: bool) -> None:
        if self._asked is None or not (wait or self._asked[1].done()):
            return
        iteration, answer = self._asked
        self._asked = None
        if (end := answer.result()) is not None:
            self._end_before(end)
        else:
            self._certain = max(self._certain, iteration + LEAD - 1)
