"""A plan's timeline, predicted by replaying the very schedule that its workers execute (``runtime.schedule``).

``planner.steps`` makes a graph of the schedule, ``planner.replay`` says when its steps begin and end, and this module
reads the answer as what people ask of a plan: its pace, its timeline, its requests.

Steps run at full speed, except where workers share something: a machine's cores (then all steps under way share them
evenly, transfers too, because on one machine a transfer is copying, unless it waits for a link), a server that takes
requests one at a time, or a rate of requests that storage admits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from statistics import median

from planner.graph import NO_DELAYS, Delays, Placed
from planner.replay import Surroundings, replay
from planner.replayed import RateLimits, Replay
from planner.sample_loads import SampleLoads
from planner.stage_costs import StageCosts
from planner.steps import SENT_BY, StepsOfPlan, get_gate, put_gate
from runtime.pacing import LOOKS_IN_VAIN, LOOKS_IN_VAIN_FOLLOWING
from runtime.records import TimelineEvent
from runtime.schedule import Op, ScheduleName

ITERATIONS = 64
"""Replayed unless a steady state shows before."""
RUNS = 15
"""Replayed where runs differ."""


@dataclass(frozen=True)
class Sharing:
    """What all workers of a plan share; by default nothing."""

    cores: int | None = None
    """Of the one machine that all workers run on."""
    timed_links: bool = False
    """Whether transfers wait for links rather than copy: then they take none of the cores."""
    serial_requests: bool = False
    """Whether one server takes all requests, one at a time."""
    puts_per_s: float | None = None
    """Writes that one inbox admits in a second; None is any number."""
    gets_per_s: float | None = None
    delays: Delays = NO_DELAYS
    """That the machine adds, where links are timed."""

    def rate_limits(self, stages: int) -> RateLimits | None:
        """The limits by gate, or None without any."""
        rates = {put_gate: self.puts_per_s, get_gate: self.gets_per_s}
        per_s = {gate(stage): rate for gate, rate in rates.items() if rate for stage in range(stages)}
        return RateLimits(per_s) if per_s else None


@dataclass(frozen=True)
class Simulation:
    """What a replay found. Times in seconds since its start."""

    replay: Replay
    placed: Sequence[Placed]

    @property
    def iteration_s(self) -> float:
        """Of an iteration in the steady state."""
        return self.replay.iteration_s

    def time_s(self, iterations: int) -> float:
        """From the start, with an empty pipeline, to the end of so many iterations."""
        finished, period = self.replay.finished, self.replay.period or 1
        beyond = max(0, iterations - len(finished))
        periods = -(-beyond // period)
        return finished[iterations - periods * period - 1] + periods * period * self.iteration_s if iterations else 0.0

    def typical_s(self, iterations: int) -> float:
        """Of so many iterations from the start, the median time from one's end to the next one's: the first ones take
        longer where workers have yet to learn when objects come."""
        paces = [later - earlier for earlier, later in pairwise(self.replay.finished[:iterations])]
        beyond = max(0, iterations - len(self.replay.finished))
        return median([*paces, *repeat(self.iteration_s, beyond)]) if iterations > 1 else self.iteration_s

    @cached_property
    def empty_gets(self) -> tuple[float, ...]:
        """Per stage: GETs of all its replicas that find nothing yet, per iteration after the first one."""
        counts = [0.0] * (1 + max(placed.stage for placed in self.placed))
        received = [placed for placed in self.placed if placed.instruction.op in SENT_BY]
        before: dict[tuple[int, int], Op] = {}
        looks = []
        for placed in received:
            follows = before.get((placed.stage, placed.replica)) is placed.instruction.op
            before[placed.stage, placed.replica] = placed.instruction.op
            looks.append(LOOKS_IN_VAIN_FOLLOWING if follows else LOOKS_IN_VAIN)
        for begins, ends in list(zip(self.replay.begins, self.replay.ends, strict=True))[1:]:
            for placed, in_vain in zip(received, looks, strict=True):
                if begins[placed.link] > ends[placed.issue]:
                    counts[placed.stage] += in_vain
        return tuple(count / max(1, len(self.replay.ends) - 1) for count in counts)

    @cached_property
    def events(self) -> list[TimelineEvent]:
        """The timeline of the first iterations, as workers record theirs."""
        events = [
            self._event(iteration, placed) for iteration in range(len(self.replay.ends)) for placed in self.placed
        ]
        return sorted(events, key=lambda event: (event.start_s, event.stage, event.replica, event.lane))

    def _event(self, iteration: int, placed: Placed) -> TimelineEvent:
        begins, ends = self.replay.begins[iteration], self.replay.ends[iteration]
        began = begins[placed.last if placed.link is None else placed.link]
        start = began if placed.issue is None else ends[placed.issue]
        return TimelineEvent(
            stage=placed.stage,
            replica=placed.replica,
            iteration=iteration,
            lane=placed.instruction.op.lane,
            instruction=str(placed.instruction),
            start_s=float(start),
            end_s=float(ends[placed.last]),
            waited_s=0.0 if placed.link is None else float(began - start),
        )


def simulate(
    plan: Sequence[StageCosts],
    *,
    schedule: ScheduleName,
    shares: Sequence[float],
    get_latency_s: float,
    sharing: Sharing | None = None,
    iterations: int = ITERATIONS,
    loads: SampleLoads | None = None,
    iteration_s: float = 0.0,
) -> Simulation:
    """Replays ``iterations`` iterations of a plan, or fewer when they are seen to repeat.

    Where the machine adds delays, no two runs are alike: of RUNS it is the one whose iterations take the median time.

    Args:
        shares: size of each micro-batch of a global batch, as a share of a full micro-batch.
        get_latency_s: of a request that finds nothing.
        loads: as in ``StepsOfPlan``.
        iteration_s: as workers are told (``planner.replay.Surroundings``).
    """
    sharing = sharing or Sharing()
    takes_part = sharing.serial_requests or (sharing.cores is not None and not sharing.timed_links)
    built = StepsOfPlan(
        plan,
        schedule=schedule,
        shares=shares,
        serial=sharing.serial_requests,
        extra_request_s=get_latency_s if takes_part else None,
        timed_links=sharing.timed_links,
        loads=loads,
        delays=sharing.delays,
    )
    limits = sharing.rate_limits(len(plan))
    runs = [
        Simulation(
            replay(built.steps, iterations, Surroundings(sharing.cores, limits, iteration_s, seed)), built.steps.placed
        )
        for seed in range(RUNS if built.steps.delays else 1)
    ]
    return sorted(runs, key=lambda run: run.typical_s(iterations))[len(runs) // 2]
