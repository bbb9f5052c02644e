"""A graph of steps: how long each lasts, what it needs, and what it shares with others. Data only.

All iterations have the same graph, so it is written once: a need names a step and how many iterations ago it was done.
"""

from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Delays:
    """Seconds that a machine adds, on average; how long each time is drawn from an exponential distribution."""

    instruction_s: float = 0.0
    """To what the compute lane does after a wait: caches are cold, other threads hold Python's interpreter lock."""
    object_s: float = 0.0
    """To an object on its way out, and on its way in: a thread wakes, encodes or decodes, writes or reads."""


NO_DELAYS = Delays()


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
    delays: dict[int, float] = field(default_factory=dict)
    """By step: seconds that the machine adds to it, on average: each time others, exponentially distributed."""

    def add(
        self,
        seconds: float,
        *,
        server: int | None = None,
        works: bool = True,
        gate: int | None = None,
        delay_s: float = 0.0,
    ) -> int:
        """A new step, whose needs follow."""
        self.durations.append(round(seconds * TICKS_PER_S))
        self.needs.append([])
        self.server.append(server)
        self.works.append(works)
        self.gate.append(gate)
        number = len(self.durations) - 1
        if delay_s:
            self.delays[number] = delay_s
        return number
