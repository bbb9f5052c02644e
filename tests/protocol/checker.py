"""Visits every state that a model can reach, and says by which steps a forbidden one is reached.

A model is a start, the steps out of each state as (label, next state), and what is wrong with a state, if anything.
States are hashable values. A process that may crash anywhere needs no steps for it: that it takes no further step is
one of the interleavings, since nothing is assumed of who goes on.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Exploration(Generic[S]):
    """All reachable states, or those up to the first wrong one."""

    came_from: dict[S, tuple[str, S] | None] = field(repr=False)
    wrong: str | None = None
    trace: tuple[str, ...] = ()

    @property
    def states(self) -> int:
        return len(self.came_from)


def explore(
    start: S,
    steps: Callable[[S], Iterable[tuple[str, S]]],
    wrong: Callable[[S], str | None],
    *,
    depth_first: bool = False,
) -> Exploration[S]:
    """Breadth first gives a shortest trace to a wrong state; depth first comes to one sooner where traces are long."""
    came_from: dict[S, tuple[str, S] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.pop() if depth_first else waiting.popleft()
        if (what := wrong(state)) is not None:
            return Exploration(came_from, what, tuple(_trace(state, came_from)))
        for label, following in steps(state):
            if following not in came_from:
                came_from[following] = (label, state)
                waiting.append(following)
    return Exploration(came_from)


def stranded(
    states: Iterable[S], steps: Callable[[S], Iterable[tuple[str, S]]], ended: Callable[[S], bool]
) -> S | None:
    """A state of ``states`` from which ``steps`` lead to no state that has ended; None when there is none."""
    before: dict[S, list[S]] = {}
    reached = set()
    everything = list(states)
    for state in everything:
        if ended(state):
            reached.add(state)
        for _, following in steps(state):
            before.setdefault(following, []).append(state)
    waiting = list(reached)
    while waiting:
        for state in before.get(waiting.pop(), ()):
            if state not in reached:
                reached.add(state)
                waiting.append(state)
    return next((state for state in everything if state not in reached), None)


def _trace(state: S, came_from: dict[S, tuple[str, S] | None]) -> Iterator[str]:
    steps = []
    while (step := came_from[state]) is not None:
        label, state = step
        steps.append(label)
    return reversed(steps)
