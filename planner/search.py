"""Branch and bound over windows: of several problems at once, so that the best plan of one bounds the others.

A window (``windows``) with a bound that is not better than what is met is done. So is one whose plans can all be looked
at (``labels``). Any other is cut in two, in the dimension that its bound is loosest in, and its parts keep the
candidates that plans better than what is met may use.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from math import inf
from time import monotonic
from typing import Protocol

import numpy

from planner.beginnings import begin
from planner.covers import with_own_stages
from planner.hulls import weights
from planner.labels import Labels
from planner.options import Options, options_of
from planner.problem import Problem
from planner.stage_costs import StageCosts
from planner.windows import Bounds, Window, whole

FEW = 1_000
"""Candidates whose plans are looked at one and all..."""
NARROW = 0.02
"""... as those of a window whose ranges are all such shares of an iteration's time."""
MOST = 80_000
"""Partial plans of a window; with more, the window is cut..."""
MORE = 8
"""... and its parts may have so many times as many: cuts help little where one layer is most of the work."""
_SHORTEST = 1e-9
"""Where a window is so narrow (relative), it is not cut any more: all its partial plans are looked at."""


class Goal(Protocol):
    """What plans are wanted."""

    usd_weight: float
    time_weight: float
    one: bool
    """Whether that is only the best by these weights."""
    time_share: float
    """How much a second more at a window's end loosens its bound, of what a second of queue does."""
    rivals: int
    """How many others must be as good as a partial plan before it is put aside."""

    @property
    def known(self) -> bool:
        """Whether there is a plan, or the value of one, that others must better."""
        ...

    def limit(self, low_s: float) -> float:
        """Plans that take at least ``low_s`` are wanted only with an objective below."""
        ...

    def longest_s(self, least_rate: float) -> float:
        """No plan that is wanted takes longer, if each has at least this objective per second."""
        ...

    def meet(self, problem: Problem, stages: Sequence[StageCosts]) -> None:
        """Notes a plan."""
        ...


class Search:
    """One search; ``open`` are bounds of what it has not looked at.

    Args:
        low_s: no plan is faster.
    """

    def __init__(self, problems: Sequence[Problem], goal: Goal, time_limit_s: float, low_s: float = 0.0) -> None:
        self.goal, self._deadline, self._low_s = goal, monotonic() + time_limit_s, low_s
        self.options = with_own_stages([options_of(problem) for problem in problems if problem.candidates])
        self.windows_seen = self.partial_plans_seen = 0
        self._numbers = count()
        self._open: list[tuple[float, int, float, Window]] = []
        """(bound over limit, number, bound, window)."""

    def run(self) -> None:
        self._begin(self.goal.one)
        if self.goal.one and not self.goal.known:  # as with a deadline near the least time
            self._begin(closely=False)
        for options in self.options:
            high_s = self.goal.longest_s(self.goal.time_weight + float(options.rate.min()))
            self._push(0.0, whole(options, self._low_s, min(high_s, _worst_s(options))))
        while self._open and not self._late():
            _, _, bound, window = heapq.heappop(self._open)
            if bound < self.goal.limit(window.low_s):
                self._look(bound, window)

    def _begin(self, closely: bool) -> None:
        for problem, stages in begin(self.options, closely):
            self.goal.meet(problem, stages)
            if self._late():
                break

    def open_windows(self) -> Iterator[tuple[float, float]]:
        """(least time, lower bound of the objective) of the windows that are left when time was up."""
        return ((window.low_s, bound) for _, _, bound, window in self._open)

    def _late(self) -> bool:
        return monotonic() >= self._deadline

    def _push(self, bound: float, window: Window | None) -> None:
        if window is not None:
            limit = self.goal.limit(window.low_s)
            share = bound / limit if limit > 0 else 0.0
            heapq.heappush(self._open, (share, next(self._numbers), bound, window))

    def _meet(self, options: Options, plan: list[int]) -> None:
        candidates = options.problem.candidates
        stages = [candidates[number] for number in plan]
        if options.problem.admits(stages):
            self.goal.meet(options.problem, stages)

    def _look(self, bound: float, window: Window) -> None:
        self.windows_seen += 1
        goal, options = self.goal, window.options
        middle_s, middle_rate = self._middle(window)
        bounds = Bounds(window, weights(middle_s / middle_rate))
        if not bounds.possible:
            return
        for path in bounds.paths(range(6, len(bounds.at), 5)):
            self._meet(options, path)
        objectives = bounds.objectives(goal.time_weight)
        limit = goal.limit(window.low_s)
        # Some stage has the longest forward queue, some the longest backward queue, and some is of the problem's own.
        for values, low in zip(window.queues(window.rows), window.queue, strict=True):
            bound = max(bound, float(objectives[values >= low].min(initial=inf)))
        bound = max(bound, float(objectives[options.own[window.rows]].min(initial=inf)))
        rows = window.rows[objectives < limit]
        if bound >= limit or not len(rows):
            return
        widths = self._widths(window, rows, middle_s)
        if len(rows) <= FEW or max(widths) <= NARROW:
            most = MOST * MORE**window.failures if max(widths) > _SHORTEST else 1 << 62
            labels = Labels(bounds, rows, goal.time_weight, limit, goal.rivals)
            plans = labels.plans(most, self._late)
            self.partial_plans_seen += labels.looked_at
            if plans is not None:
                for plan in plans:
                    self._meet(options, plan)
                return
            window = replace(window, failures=window.failures + 1)
        self._cut(bound, replace(window, fines=bounds.fines), rows, widths)

    def _middle(self, window: Window) -> tuple[float, float]:
        """Seconds and objective per second about which the window's plans are looked at closely."""
        low_s = max(window.low_s, sum(window.queue), 1e-9)
        seconds = min(window.high_s, max(2 * low_s, window.high_s / 4))
        limit = self.goal.limit(window.low_s)
        if limit == inf:
            return seconds, max(float(numpy.median(window.options.rate)) * 4, 1e-12)
        return seconds, max(limit / seconds - self.goal.time_weight, 0.2 * limit / seconds, 1e-12)

    def _widths(self, window: Window, rows: numpy.ndarray, middle_s: float) -> tuple[float, float, float]:
        """Of time, forward and backward queue, as shares of an iteration's time."""
        queues = [float(values.max()) - low for values, low in zip(window.queues(rows), window.queue, strict=True)]
        time = (window.high_s - window.low_s) * self.goal.time_share
        return time / middle_s, max(0.0, queues[0]) / middle_s, max(0.0, queues[1]) / middle_s

    def _cut(self, bound: float, window: Window, rows: numpy.ndarray, widths: tuple[float, float, float]) -> None:
        widest = widths.index(max(widths))
        if widest == 0:
            middle = (window.high_s * max(window.low_s, window.high_s / 8)) ** 0.5
            self._push(bound, window.part(rows, window.low_s, middle, window.queue))
            self._push(bound, window.part(rows, middle, window.high_s, window.queue))
            return
        values, low = window.queues(rows)[widest - 1], window.queue[widest - 1]
        middle = (low + float(values.max())) / 2
        above = values[values > middle]
        queue = (float(above.min()), window.queue[1]) if widest == 1 else (window.queue[0], float(above.min()))
        self._push(bound, window.part(rows[values <= middle], window.low_s, window.high_s, window.queue))
        self._push(bound, window.part(rows, window.low_s, window.high_s, queue))


def _worst_s(options: Options) -> float:
    """No plan takes longer."""
    queues = options.forward_queue + options.backward_queue
    worst = options.forward + options.backward + queues + options.closing
    if options.work is not None:
        worst = worst + options.work
    seconds = float(worst.max()) * (options.boundaries - 1)
    if options.alternating is not None:
        each = options.alternating
        turns = float((each.inner + each.tail + options.forward + options.backward).max())
        seconds += turns * (options.boundaries - 1) * int(options.micro_batches.max())
    return seconds
