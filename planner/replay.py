"""When each step of a plan's graph begins and ends, over many iterations.

Where workers share nothing, by ``planner.recurrence``. Where cores, a server or rates of requests are shared, the order
in which steps ask for them matters, and the steps are replayed here, event by event.

Runs on one machine also differ from each other: in when workers learn that the gang is there, and in what its scheduler
adds to each step (``Steps.starts``, ``Steps.delays``). Both are drawn from a generator, so a seed is a run.
"""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

import numpy

from planner.graph import TICKS_PER_S, Steps
from planner.recurrence import replay_unshared
from planner.replayed import RECORDED, RateLimits, Replay, pace
from planner.waiting import Searches

DELAY_SHAPE = 4.0
"""Of the gamma distribution of what a machine adds, whose standard deviation is then half its mean. On 2 cores, after
rests of 3 ms to 1 s, it was a third to a half of it for objects, and less for computations."""
MOST_EVENTS = 400_000
"""Replayed event by event; iterations beyond go on at the pace of the second half of those replayed."""


@dataclass(frozen=True)
class Surroundings:
    """What steps share, and what differs from run to run.

    Args:
        cores: shared evenly by all steps that work and run at once; None where no step slows another one down.
        limits: rates at which requests pass; not together with ``cores``, whose sharing would stretch their waits.
        iteration_s: as workers are told by their plan; they look for objects by it until they know better.
        seed: of what the run alone knows.
    """

    cores: int | None = None
    limits: RateLimits | None = None
    iteration_s: float = 0.0
    seed: int = 0


@dataclass
class _Events:
    """The state of a replay event by event. A step of an iteration is (iteration, step)."""

    steps: Steps
    around: Surroundings
    iterations: int
    now: float = 0.0
    progress: float = 0.0
    """All steps that share cores progress at one rate, so progress is one clock: a step that begins when it shows p
    ends when it shows p + duration."""
    running: list[tuple[float, int, int, int]] = field(default_factory=list)
    """(progress at its end, order of beginning, iteration, step)"""
    lasting: list[tuple[float, int, int, int]] = field(default_factory=list)
    """Steps that take no core: (moment of its end, order of beginning, iteration, step)."""
    order: int = 0
    queues: dict[int, deque[tuple[int, int]]] = field(default_factory=dict)
    """By server."""
    serving: set[int] = field(default_factory=set)
    """Servers that are busy."""
    allotted: dict[int, float] = field(default_factory=dict)
    """By rate limit: the moment up to which its requests have been used up."""
    found_s: dict[int, float] = field(default_factory=dict)
    """By lane: when the last object that it looked for was found."""
    active_s: dict[tuple[int, bool], float] = field(default_factory=dict)
    """By worker, of its compute lane and of all its lanes: until when it does something, or did."""

    def __post_init__(self) -> None:
        self.searches = Searches(self.around.iteration_s)
        self.random = random.Random(self.around.seed)
        self.issued: dict[int, list[int]] = {}
        """By step that ends then: searches whose look is settled."""
        for search, awaited in self.steps.looks.items():
            self.issued.setdefault(awaited.issue, []).append(search)
        count = len(self.steps.durations)
        self.seconds = [ticks / TICKS_PER_S for ticks in self.steps.durations]
        self.needed_by: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for number, needs in enumerate(self.steps.needs):
            for step, ago in needs:
                self.needed_by[step].append((number, ago))
        self.waiting = [
            [sum(ago <= iteration for _, ago in needs) for needs in self.steps.needs]
            for iteration in range(self.iterations)
        ]
        self.begins = numpy.full((self.iterations, count), numpy.nan)
        self.ends = numpy.full((self.iterations, count), numpy.nan)

    def ready(self, iteration: int, step: int) -> None:
        """All that the step needs is done."""
        server = self.steps.server[step]
        if server is not None:
            self.queues.setdefault(server, deque()).append((iteration, step))
            self._serve(server)
        else:
            self._begin(iteration, step, self._admission_s(step))

    def _serve(self, server: int) -> None:
        queue = self.queues[server]
        if queue and server not in self.serving:
            self.serving.add(server)
            self._begin(*queue.popleft(), 0.0)

    def _admission_s(self, step: int) -> float:
        """How long the step's request waits for its turn under a rate limit."""
        gate = self.steps.gate[step]
        if self.around.limits is None or gate not in self.around.limits.per_s:
            return 0.0
        wait = max(0.0, self.allotted.get(gate, 0.0) - self.around.limits.burst_s - self.now)
        self.allotted[gate] = max(self.allotted.get(gate, 0.0), self.now) + 1 / self.around.limits.per_s[gate]
        return wait

    def _begin(self, iteration: int, step: int, wait_s: float) -> None:
        self.begins[iteration, step] = self.now + wait_s
        duration_s = wait_s + self._duration_s(iteration, step)
        if self.steps.works[step]:
            heapq.heappush(self.running, (self.progress + duration_s, self.order, iteration, step))
        else:
            heapq.heappush(self.lasting, (self.now + duration_s, self.order, iteration, step))
        self.order += 1

    def _duration_s(self, iteration: int, step: int) -> float:
        awaited = self.steps.looks.get(step)
        if awaited is None:
            once_s = 0.0
            if iteration == 0:
                once_s = self.steps.once.get(step, 0.0) + self.random.uniform(0.0, self.steps.starts.get(step, 0.0))
            seconds = self.seconds[step] + once_s
            return self._delayed_s(step, seconds) if step in self.steps.delays else seconds
        found = self.searches.search(
            (iteration, step),
            awaited,
            issued_s=self.ends[iteration, awaited.issue],
            arrived_s=self.ends[iteration, awaited.sent],
            turn_s=self.found_s.get(awaited.lane, 0.0),
        )
        self.found_s[awaited.lane] = found
        return max(0.0, found - self.now)

    def _delayed_s(self, step: int, seconds: float) -> float:
        """How long a step of so many seconds takes that the machine adds to; its worker rests from then on."""
        delay = self.steps.delays[step]
        rest_s = max(0.0, self.now - self.active_s.get((delay.worker, delay.computes), 0.0))
        mean_s = delay.mean_s(rest_s)
        seconds += self.random.gammavariate(DELAY_SHAPE, mean_s / DELAY_SHAPE) if mean_s else 0.0
        self.active_s[delay.worker, False] = self.now + seconds
        if delay.computes:
            self.active_s[delay.worker, True] = self.now + seconds
        return seconds

    def run(self) -> None:
        """Until everything is done."""
        for iteration, waiting in enumerate(self.waiting):
            for step, count in enumerate(waiting):
                if count == 0:
                    self.ready(iteration, step)
        while self.running or self.lasting:
            iteration, step = self._next()
            self.ends[iteration, step] = self.now
            for search in self.issued.get(step, ()):
                self.searches.request((iteration, search), self.steps.looks[search])
            server = self.steps.server[step]
            if server is not None:
                self.serving.discard(server)
            for number, ago in self.needed_by[step]:
                if iteration + ago < self.iterations:
                    waiting = self.waiting[iteration + ago]
                    waiting[number] -= 1
                    if waiting[number] == 0:
                        self.ready(iteration + ago, number)
            if server is not None:
                self._serve(server)

    def _next(self) -> tuple[int, int]:
        """Goes on to the end of the step that ends first: its iteration and number."""
        rate = 1.0 if self.around.cores is None else min(1.0, self.around.cores / max(1, len(self.running)))
        if self.running:
            target = self.running[0][0]
            ends = self.now + (target - self.progress) / rate
            if not self.lasting or ends <= self.lasting[0][0]:
                self.now, self.progress = ends, target
                return heapq.heappop(self.running)[2:]
        ends, _, iteration, step = heapq.heappop(self.lasting)
        self.progress += (ends - self.now) * rate if self.running else 0.0
        self.now = ends
        return iteration, step


def replay_shared(steps: Steps, iterations: int, around: Surroundings) -> Replay:
    """The replay where steps share something."""
    assert around.cores is None or around.limits is None
    replayed = min(iterations, max(2 * RECORDED, MOST_EVENTS // len(steps.durations)))
    events = _Events(steps, around, replayed)
    events.run()
    finished = [float(row.max()) for row in events.ends]
    iteration_s = pace(finished)
    finished += [finished[-1] + iteration_s * more for more in range(1, iterations - replayed + 1)]
    return Replay(
        begins=list(events.begins[:RECORDED]),
        ends=list(events.ends[:RECORDED]),
        finished=finished,
        period=None,
        iteration_s=iteration_s,
    )


def replay(steps: Steps, iterations: int, around: Surroundings) -> Replay:
    """By the recurrence where workers share nothing that makes them wait, else event by event."""
    if around.cores is None and all(server is None for server in steps.server):
        free = replay_unshared(steps, iterations, around.limits)
        if free is not None:
            return free
    return replay_shared(steps, iterations, around)
