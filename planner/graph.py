"""A graph of steps: how long each lasts, what it needs, and what it shares with others. Data only.

All iterations have the same graph, so it is written once: a need names a step and how many iterations ago it was done.
"""

from dataclasses import dataclass, field

from planner.points import between
from runtime.keys import GangKeys
from runtime.schedule import Instruction

TICKS_PER_S = 2**40
"""Durations are whole ticks of 2^-40 s, so that sums of them are exact, and exact in seconds up to 2^53 ticks (2 h)."""

Need = tuple[int, int]
"""(step, iterations ago)"""

COMMON = 0
"""The server that all workers share, where there is one."""


@dataclass(frozen=True)
class Ports:
    """A worker's links, as servers."""

    up: int

    @property
    def down(self) -> int:
        return self.up + 1


GANG = GangKeys("run", 0, 0)
"""Names of objects, as workers have them."""


ByRest = tuple[tuple[float, float], ...]
"""(seconds of rest, seconds that are then added): none where nothing is added."""


@dataclass(frozen=True)
class Delays:
    """Seconds that a machine adds, on average, by how long a worker has rested: then its caches are cold, and its cores
    are asleep. How long each time is drawn from a gamma distribution."""

    instruction_s: ByRest = ()
    """To what the compute lane does, by how long it has done nothing."""
    object_s: ByRest = ()
    """To an object on its way out, and on its way in, by how long the worker has done nothing: a thread wakes, encodes
    or decodes, writes or reads."""


NO_DELAYS = Delays()


@dataclass(frozen=True)
class Delay:
    """What is added to a step of a worker, which is told by its upload port.

    Args:
        computes: whether it is a step of the compute lane.
    """

    by_rest: ByRest
    worker: int
    computes: bool = False

    def mean_s(self, rest_s: float) -> float:
        """After a rest: linear between two that are told, constant outside."""
        return between(self.by_rest, rest_s)


@dataclass(frozen=True)
class Awaited:
    """What the search for an object depends on."""

    lane: int
    """Whose searches follow one another."""
    key: str
    """The object's name in the first iteration."""
    issue: int
    """The step after which it may be looked for; what has been learnt by then says when."""
    sent: int
    """The step after which it is there; of the same iteration."""
    latency_s: float
    follows: bool
    """Whether it comes right behind another of its series (``runtime.keys.series``)."""


@dataclass(frozen=True)
class Placed:
    """One instruction of one worker, and the steps that it is made of."""

    stage: int
    replica: int
    instruction: Instruction
    last: int
    """When it is done, so is the instruction."""
    link: int | None = None
    """Its way over the link; None on the compute lane."""
    issue: int | None = None
    """Its request; downloads only."""


@dataclass
class Steps:
    """The graph. Lists by step."""

    durations: list[int] = field(default_factory=list)
    """Ticks."""
    needs: list[list[Need]] = field(default_factory=list)
    server: list[int | None] = field(default_factory=list)
    """Who serves the step, one step at a time in the order of their coming; None: nobody, it just begins."""
    works: list[bool] = field(default_factory=list)
    """Whether the step takes a part of what cores are shared; else it only lasts."""
    gate: list[int | None] = field(default_factory=list)
    """The rate limit that the step's request counts against."""
    placed: list[Placed] = field(default_factory=list)
    looks: dict[int, Awaited] = field(default_factory=dict)
    """By step that is the search for an object, which lasts as long as ``runtime.arrivals`` lets it."""
    once: dict[int, float] = field(default_factory=dict)
    """By step: seconds that it lasts longer in the first iteration."""
    starts: dict[int, float] = field(default_factory=dict)
    """By step: seconds that it lasts longer in the first iteration at most, all as likely."""
    delays: dict[int, Delay] = field(default_factory=dict)
    """By step: what the machine adds to it."""

    def add(
        self,
        seconds: float,
        *,
        server: int | None = None,
        works: bool = True,
        gate: int | None = None,
        delay: Delay | None = None,
    ) -> int:
        """A new step, whose needs follow."""
        self.durations.append(round(seconds * TICKS_PER_S))
        self.needs.append([])
        self.server.append(server)
        self.works.append(works)
        self.gate.append(gate)
        number = len(self.durations) - 1
        if delay is not None and delay.by_rest:
            self.delays[number] = delay
        return number
