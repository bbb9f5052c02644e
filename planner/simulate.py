"""A plan's timeline, predicted by replaying the very schedule that its workers execute (``runtime.schedule``).

Work is a graph of steps; each begins when those it needs are done:

    sender's upload ──► link of the receiver ──► latency ──► compute ──► link of the sender ──► latency ──► ...
                            ▲ the transfer before it, and room among pacing.IN_FLIGHT

A lane is a chain of such steps in schedule order, as in the worker: a download is requested when the compute lane takes
the one IN_FLIGHT - 1 before it, also across iterations. Replicas that average gradients wait for each other. Steps run
at full speed, except where all workers share a machine's cores: then all steps under way share them evenly, transfers
too, because on one machine a transfer is copying.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.cost_model import StageCosts, Transfer
from runtime.batches import replica_of
from runtime.pacing import IN_FLIGHT, LOOKS_IN_VAIN
from runtime.records import TimelineEvent
from runtime.schedule import Instruction, Lane, Op, Program, ScheduleName, gang_programs

ITERATIONS = 4
"""Simulated; the first one fills the pipeline and does not count."""

_SENT_BY = {Op.RECEIVE_ACTIVATION: (Op.SEND_ACTIVATION, -1), Op.RECEIVE_GRADIENT: (Op.SEND_GRADIENT, 1)}
_Name = tuple[object, ...]


@dataclass
class _Steps:
    """The graph: a duration and the steps it needs, by name."""

    durations: dict[_Name, float] = field(default_factory=dict)
    needs: dict[_Name, list[_Name]] = field(default_factory=dict)

    def add(self, name: _Name, duration: float, needs: Sequence[_Name | None]) -> _Name:
        self.durations[name] = duration
        self.needs[name] = [need for need in needs if need is not None]
        return name

    def run(self, cores: int | None) -> dict[_Name, tuple[float, float]]:
        """(begin, end) of each step; ``cores`` are shared by all that run at once, None is no limit.

        All running steps progress at one rate, so progress is one clock: a step that begins when it shows p ends when
        it shows p + duration.
        """
        waiting = {name: len(needs) for name, needs in self.needs.items()}
        needed_by: dict[_Name, list[_Name]] = {name: [] for name in self.durations}
        for name, needs in self.needs.items():
            for need in needs:
                needed_by[need].append(name)
        begun: dict[_Name, float] = {}
        ended: dict[_Name, tuple[float, float]] = {}
        running: list[tuple[float, int, _Name]] = []
        now = progress = 0.0
        order = 0

        def begin(name: _Name) -> None:
            nonlocal order
            begun[name] = now
            heapq.heappush(running, (progress + self.durations[name], order, name))
            order += 1

        for name, count in waiting.items():
            if count == 0:
                begin(name)
        while running:
            rate = 1.0 if cores is None else min(1.0, cores / len(running))
            target, _, name = heapq.heappop(running)
            now += (target - progress) / rate
            progress = target
            ended[name] = (begun[name], now)
            for following in needed_by[name]:
                waiting[following] -= 1
                if waiting[following] == 0:
                    begin(following)
        assert len(ended) == len(self.durations), "the schedule waits for itself"
        return ended


@dataclass(frozen=True)
class Simulation:
    """What a replay found. Times in seconds since its start."""

    iteration_s: float
    """Of an iteration in the steady state."""
    empty_gets: tuple[float, ...]
    """Per stage: GETs of all its replicas that find nothing yet, per iteration in the steady state."""
    events: list[TimelineEvent]


@dataclass
class _Worker:
    """Adds one worker's steps to the graph, instruction by instruction."""

    steps: _Steps
    plan: Sequence[StageCosts]
    stage: int
    replica: int
    shares: Sequence[float]
    get_latency_s: float
    last: _Name | None = None
    taken: list[_Name | None] = field(default_factory=list)
    lanes: dict[Lane, list[tuple[_Name, _Name]]] = field(default_factory=lambda: {Lane.DOWNLOAD: [], Lane.UPLOAD: []})

    @property
    def costs(self) -> StageCosts:
        return self.plan[self.stage]

    def name(self, iteration: int, instruction: Instruction) -> _Name:
        return ("end", self.stage, self.replica, iteration, str(instruction))

    def add(self, iteration: int, instruction: Instruction) -> None:
        name, op, index = self.name(iteration, instruction), instruction.op, instruction.micro_batch
        share = 1.0 if index is None else self.shares[index]
        forward, backward = self.costs.forward, self.costs.backward
        if op is Op.REDUCE:
            arrived = self.steps.add(("arrive", *name[1:]), 0.0, [self.last])
            peers = [("arrive", self.stage, peer, *name[3:]) for peer in range(self.costs.replicas)]
            self.last = self.steps.add(name, self.costs.synchronise_s, [arrived, *peers])
        elif op is Op.STEP:
            self.last = self.steps.add(name, self.costs.step_s, [self.last])
        elif op in (Op.FORWARD, Op.BACKWARD):
            seconds = (forward if op is Op.FORWARD else backward).compute_s
            self.last = self.steps.add(name, seconds * share, [self.last])
        elif op.lane is Lane.UPLOAD:
            times = forward if op is Op.SEND_ACTIVATION else backward
            self._transfer(name, times.upload, share, Lane.UPLOAD, [self.last])
        else:
            self._download(name, iteration, instruction, share)

    def _download(self, name: _Name, iteration: int, instruction: Instruction, share: float) -> None:
        self.taken.append(self.last)
        ahead = len(self.taken) - IN_FLIGHT
        requested = self.taken[ahead] if ahead >= 0 else None
        issued = self.steps.add(("issue", *name[1:]), 0.0, [requested])
        needs: list[_Name | None] = [issued]
        if instruction.op in _SENT_BY:
            assert instruction.micro_batch is not None
            op, offset = _SENT_BY[instruction.op]
            stage = self.stage + offset
            sender = replica_of(instruction.micro_batch, self.plan[stage].replicas)
            sent = Instruction(op, instruction.micro_batch)
            needs.append(("end", stage, sender, iteration, str(sent)))
        times = self.costs.backward if instruction.op is Op.RECEIVE_GRADIENT else self.costs.forward
        transfer = Transfer() if self._loads_beside(instruction.op) else times.download
        self._transfer(name, transfer, share, Lane.DOWNLOAD, needs)
        self.last = self.steps.add(("take", *name[1:]), 0.0, [self.last, name])
        if instruction.op in _SENT_BY:
            # Nothing waits for these; where cores are shared, they take their part all the same.
            self.steps.add(("asked in vain", *name[1:]), self.get_latency_s, [issued])
            self.steps.add(("deleted", *name[1:]), self.get_latency_s, [self.last])

    def _loads_beside(self, op: Op) -> bool:
        """Whether the samples' time is already in that of the activation that comes with them."""
        return op is Op.LOAD and self.stage > 0

    def _transfer(self, name: _Name, transfer: Transfer, share: float, lane: Lane, needs: list[_Name | None]) -> None:
        before = self.lanes[lane]
        link_before = before[-1][0] if before else None
        room = before[-IN_FLIGHT][1] if len(before) >= IN_FLIGHT else None
        link = self.steps.add(("link", *name[1:]), transfer.link_s * share, [*needs, link_before, room])
        self.steps.add(name, transfer.latency_s, [link])
        before.append((link, name))


def simulate(
    plan: Sequence[StageCosts],
    *,
    schedule: ScheduleName,
    shares: Sequence[float],
    get_latency_s: float,
    cores: int | None,
    iterations: int = ITERATIONS,
) -> Simulation:
    """Replays ``iterations`` iterations of a plan.

    Args:
        shares: size of each micro-batch of a global batch, as a share of a full micro-batch.
        get_latency_s: of a request that finds nothing.
        cores: shared by all workers; None where each has its own.
    """
    steps = _Steps()
    programs = gang_programs(schedule, [costs.replicas for costs in plan], len(shares))
    for (stage, replica), program in programs.items():
        worker = _Worker(steps, plan, stage, replica, shares, get_latency_s)
        for iteration in range(iterations):
            for instruction in program:
                worker.add(iteration, instruction)
    spans = steps.run(cores)
    return _summarise(programs, spans, iterations)


def _summarise(
    programs: dict[tuple[int, int], Program],
    spans: dict[_Name, tuple[float, float]],
    iterations: int,
) -> Simulation:
    events: list[TimelineEvent] = []
    ends = [0.0] * iterations
    empty = [0.0] * (1 + max(stage for stage, _ in programs))
    for (stage, replica), program in programs.items():
        for iteration in range(iterations):
            for instruction in program:
                place = (stage, replica, iteration, str(instruction))
                begin, end = spans["end", *place]
                waited = 0.0
                if instruction.op.lane is not Lane.COMPUTE:
                    link_begin = spans["link", *place][0]
                    begin = spans["issue", *place][0] if instruction.op.lane is Lane.DOWNLOAD else link_begin
                    waited = link_begin - begin
                if instruction.op in _SENT_BY:
                    empty[stage] += LOOKS_IN_VAIN * bool(iteration and waited > 0)
                events.append(
                    TimelineEvent(
                        stage=stage,
                        replica=replica,
                        iteration=iteration,
                        lane=instruction.op.lane,
                        instruction=str(instruction),
                        start_s=begin,
                        end_s=end,
                        waited_s=waited,
                    )
                )
                ends[iteration] = max(ends[iteration], end)
    steady = iterations - 1
    iteration_s = (ends[-1] - ends[0]) / steady if steady else ends[0]
    events.sort(key=lambda event: (event.start_s, event.stage, event.replica, event.lane))
    return Simulation(iteration_s, tuple(count / max(1, steady) for count in empty), events)
