"""When each step of a plan's graph begins and ends, over many iterations.

Where workers share nothing, a step ends at

    x_k[i] = duration[i] + max over needs (j, a) of x_{k-a}[j]

the recurrence of a max-plus linear system (Baccelli, Cohen, Olsder, Quadrat: Synchronization and Linearity, 1992): its
state is the last few iterations, and shifting the state shifts everything after it. So when a state recurs but for a
shift, what lies between repeats for ever, and all later iterations are known without replaying them. Ticks are whole
numbers, hence "recurs" is equality, not nearness. Such a recurrence comes after finitely many iterations when all
workers depend on each other; until it comes, iterations are replayed one by one.

Where cores, a server or rates of requests are shared, the order in which steps ask for them matters, and the steps are
replayed event by event.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy

from planner.graph import TICKS_PER_S, Steps
from planner.waiting import Searches

RECORDED = 4
"""Iterations of which every step's begin and end is kept: the first ones."""
LONGEST_PERIOD = 12
"""Recurrences of at most so many iterations are looked for."""
MOST_EVENTS = 400_000
"""Replayed event by event; iterations beyond go on at the pace of the second half of those replayed."""


@dataclass(frozen=True)
class Replay:
    """What a replay found. Seconds since its start."""

    begins: list[numpy.ndarray]
    ends: list[numpy.ndarray]
    """By step, of the first RECORDED iterations."""
    finished: list[float]
    """The end of each iteration."""
    period: int | None
    """Iterations after which everything repeats, proven; None where no such number was met."""
    iteration_s: float
    """Of an iteration in the steady state."""


@dataclass(frozen=True)
class RateLimits:
    """Requests per second by gate, and how many seconds' worth may come at once."""

    per_s: dict[int, float]
    burst_s: float = 1.0

    def allows(self, gate: int, arrivals: numpy.ndarray) -> bool:
        """Whether requests at these seconds pass without waiting (the generic cell rate algorithm's test)."""
        interval = 1 / self.per_s[gate]
        moments = numpy.sort(arrivals)
        count = numpy.arange(len(moments))
        allotted = numpy.maximum.accumulate(moments - count * interval) + (count + 1) * interval
        return bool(numpy.all(allotted - moments <= self.burst_s + interval))


class _Levels:
    """The graph in the order of its needs within an iteration; a level's steps need only those of levels before it."""

    def __init__(self, steps: Steps) -> None:
        self.count = len(steps.durations)
        self.memory = max((ago for needs in steps.needs for _, ago in needs), default=0)
        """Iterations that the recurrence looks back."""
        durations = numpy.array(steps.durations, dtype=numpy.int64)
        self.levels: list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]] = []
        for level in _by_level(steps):
            gathered = [ago * self.count + step for number in level for step, ago in steps.needs[number]]
            sizes = [len(steps.needs[number]) for number in level]
            starts = numpy.concatenate(([0], numpy.cumsum(sizes)[:-1]))
            numbers = numpy.array(level)
            self.levels.append((numbers, numpy.array(gathered), starts, durations[numbers]))

    def advance(self, window: numpy.ndarray) -> None:
        """Fills row 0 of ``window`` (this iteration) from itself and the rows below (1 iteration ago, 2, ...)."""
        flat, now = window.reshape(-1), window[0]
        for numbers, gathered, starts, durations in self.levels:
            now[numbers] = numpy.maximum.reduceat(flat[gathered], starts) + durations


def _by_level(steps: Steps) -> list[list[int]]:
    waiting = [sum(ago == 0 for _, ago in needs) for needs in steps.needs]
    needed_by: list[list[int]] = [[] for _ in steps.needs]
    for number, needs in enumerate(steps.needs):
        assert needs, "every step follows another one, if only of an iteration before"
        for step, ago in needs:
            if ago == 0:
                needed_by[step].append(number)
    levels = []
    level = [number for number, count in enumerate(waiting) if count == 0]
    while level:
        levels.append(level)
        following = []
        for number in level:
            for other in needed_by[number]:
                waiting[other] -= 1
                if waiting[other] == 0:
                    following.append(other)
        level = following
    assert not any(waiting), "the schedule waits for itself"
    return levels


@dataclass
class _History:
    """The last iterations' rows, newest first."""

    rows: deque[numpy.ndarray]

    def recurrence(self, memory: int) -> tuple[int, int] | None:
        """(iterations, ticks) after which the state recurs, or None."""
        for period in range(1, LONGEST_PERIOD + 1):
            if len(self.rows) < period + memory:
                return None
            shift = int(self.rows[0][0] - self.rows[period][0])
            if all(bool((self.rows[at] - self.rows[at + period] == shift).all()) for at in range(memory)):
                return period, shift
        return None


def replay_unshared(steps: Steps, iterations: int, limits: RateLimits | None = None) -> Replay | None:
    """The replay where workers share nothing; None where a rate limit, if there are any, would make a request wait."""
    levels = _Levels(steps)
    durations = numpy.array(steps.durations, dtype=numpy.int64)
    gates = _Arrivals(steps, limits)
    memory = max(1, levels.memory)
    window = numpy.zeros((memory + 1, levels.count), dtype=numpy.int64)
    history = _History(deque(maxlen=LONGEST_PERIOD + memory))
    recorded: list[numpy.ndarray] = []
    finished: list[int] = []
    found = None
    while len(finished) < iterations and found is None:
        window[1:] = window[:-1].copy()
        levels.advance(window)
        row = window[0].copy()
        finished.append(int(row.max()))
        if len(recorded) < RECORDED:
            recorded.append(row)
        gates.note(row - durations)
        history.rows.appendleft(row)
        found = history.recurrence(memory)
    if found is None:
        period, pace = None, _pace([ticks / TICKS_PER_S for ticks in finished])
    else:
        period, shift = found
        pace = shift / period / TICKS_PER_S
        for at in range(len(finished), iterations):
            finished.append(finished[at - period] + shift)
        for at in range(len(recorded), min(RECORDED, iterations)):
            recorded.append(recorded[at - period] + shift)
        gates.repeat(period, shift)
    if not gates.pass_freely():
        return None
    return Replay(
        begins=[(row - durations) / TICKS_PER_S for row in recorded],
        ends=[row / TICKS_PER_S for row in recorded],
        finished=[ticks / TICKS_PER_S for ticks in finished],
        period=period,
        iteration_s=pace,
    )


class _Arrivals:
    """When requests reach each rate limit."""

    def __init__(self, steps: Steps, limits: RateLimits | None) -> None:
        self._limits = limits
        numbers: dict[int, list[int]] = {}
        for number, gate in enumerate(steps.gate):
            if gate is not None and limits is not None and gate in limits.per_s:
                numbers.setdefault(gate, []).append(number)
        self._steps = {gate: numpy.array(at) for gate, at in numbers.items()}
        self._moments: dict[int, list[numpy.ndarray]] = {gate: [] for gate in numbers}

    def note(self, begins: numpy.ndarray) -> None:
        """One more iteration, ticks."""
        for gate, at in self._steps.items():
            self._moments[gate].append(begins[at])

    def repeat(self, period: int, shift: int) -> None:
        """Twice the period more, in which a backlog that grows shows."""
        for moments in self._moments.values():
            for _ in range(2 * period):
                moments.append(moments[-period] + shift)

    def pass_freely(self) -> bool:
        return all(
            self._limits is None or self._limits.allows(gate, numpy.concatenate(moments) / TICKS_PER_S)
            for gate, moments in self._moments.items()
        )


def _pace(finished: Sequence[float]) -> float:
    """Seconds from one iteration's end to the next; the first half, in which the pipeline fills, does not count."""
    if len(finished) == 1:
        return finished[0]
    half = (len(finished) - 1) // 2
    return (finished[-1] - finished[half]) / (len(finished) - 1 - half)


@dataclass
class _Events:
    """The state of a replay event by event. A step of an iteration is (iteration, step)."""

    steps: Steps
    cores: int | None
    limits: RateLimits | None
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
    searches: Searches = field(default_factory=Searches)
    found_s: dict[int, float] = field(default_factory=dict)
    """By lane: when the last object that it looked for was found."""

    def __post_init__(self) -> None:
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
        if self.limits is None or gate not in self.limits.per_s:
            return 0.0
        wait = max(0.0, self.allotted.get(gate, 0.0) - self.limits.burst_s - self.now)
        self.allotted[gate] = max(self.allotted.get(gate, 0.0), self.now) + 1 / self.limits.per_s[gate]
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
            return self.seconds[step]
        found = self.searches.search(
            awaited,
            issued_s=self.ends[iteration, awaited.issue],
            arrived_s=self.ends[iteration, awaited.sent],
            turn_s=self.found_s.get(awaited.lane, 0.0),
        )
        self.found_s[awaited.lane] = found
        return max(0.0, found - self.now)

    def run(self) -> None:
        """Until everything is done."""
        for iteration, waiting in enumerate(self.waiting):
            for step, count in enumerate(waiting):
                if count == 0:
                    self.ready(iteration, step)
        while self.running or self.lasting:
            iteration, step = self._next()
            self.ends[iteration, step] = self.now
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
        rate = 1.0 if self.cores is None else min(1.0, self.cores / max(1, len(self.running)))
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


def replay_shared(steps: Steps, iterations: int, cores: int | None, limits: RateLimits | None = None) -> Replay:
    """The replay where steps share something.

    Args:
        cores: shared evenly by all steps that work and run at once; None where no step slows another one down.
        limits: rates at which requests pass; not together with ``cores``, whose sharing would stretch their waits.
    """
    assert cores is None or limits is None
    replayed = min(iterations, max(2 * RECORDED, MOST_EVENTS // len(steps.durations)))
    events = _Events(steps, cores, limits, replayed)
    events.run()
    finished = [float(row.max()) for row in events.ends]
    pace = _pace(finished)
    finished += [finished[-1] + pace * more for more in range(1, iterations - replayed + 1)]
    return Replay(
        begins=list(events.begins[:RECORDED]),
        ends=list(events.ends[:RECORDED]),
        finished=finished,
        period=None,
        iteration_s=pace,
    )


def replay(steps: Steps, iterations: int, *, cores: int | None = None, limits: RateLimits | None = None) -> Replay:
    """By the recurrence where workers share nothing that makes them wait, else event by event."""
    if cores is None and all(server is None for server in steps.server):
        free = replay_unshared(steps, iterations, limits)
        if free is not None:
            return free
    return replay_shared(steps, iterations, cores, limits)
