"""A replay written for plainness: every iteration's steps by name, each looked up when it is needed.

It shares the schedule with ``planner.steps`` and ``planner.replay``, and no code.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.graph import TICKS_PER_S
from planner.stage_costs import StageCosts, Transfer
from runtime.batches import replica_of
from runtime.pacing import IN_FLIGHT
from runtime.schedule import Instruction, Lane, Op, ScheduleName, gang_programs

_SENT_BY = {Op.RECEIVE_ACTIVATION: (Op.SEND_ACTIVATION, -1), Op.RECEIVE_GRADIENT: (Op.SEND_GRADIENT, 1)}
Name = tuple[object, ...]


@dataclass
class NaiveSteps:
    """A duration in ticks and the steps it needs, by name."""

    durations: dict[Name, int] = field(default_factory=dict)
    needs: dict[Name, list[Name]] = field(default_factory=dict)

    def add(self, name: Name, seconds: float, needs: Sequence[Name | None]) -> Name:
        self.durations[name] = round(seconds * TICKS_PER_S)
        self.needs[name] = [need for need in needs if need is not None]
        return name

    def ends(self) -> dict[Name, int]:
        """Each step's end where nothing is shared, in ticks."""
        found: dict[Name, int] = {}
        for wanted in self.durations:
            stack = [wanted]
            while stack:
                name = stack[-1]
                missing = [need for need in self.needs[name] if need not in found]
                if missing:
                    stack += missing
                else:
                    found[name] = max((found[need] for need in self.needs[name]), default=0) + self.durations[name]
                    stack.pop()
        return found

    def ends_on_shared_cores(self, cores: int) -> dict[Name, float]:
        """The same in seconds where all steps under way share ``cores`` evenly."""
        waiting = {name: len(needs) for name, needs in self.needs.items()}
        needed_by: dict[Name, list[Name]] = {name: [] for name in self.durations}
        for name, needs in self.needs.items():
            for need in needs:
                needed_by[need].append(name)
        running = [(self.durations[name] / TICKS_PER_S, number, name) for number, name in enumerate(waiting)]
        running = [item for item in running if waiting[item[2]] == 0]
        heapq.heapify(running)
        ends: dict[Name, float] = {}
        now = progress = 0.0
        order = len(waiting)
        while running:
            rate = min(1.0, cores / len(running))
            target, _, name = heapq.heappop(running)
            now, progress = now + (target - progress) / rate, target
            ends[name] = now
            for other in needed_by[name]:
                waiting[other] -= 1
                if waiting[other] == 0:
                    order += 1
                    heapq.heappush(running, (progress + self.durations[other] / TICKS_PER_S, order, other))
        return ends


@dataclass
class _Worker:
    steps: NaiveSteps
    plan: Sequence[StageCosts]
    stage: int
    replica: int
    shares: Sequence[float]
    extra_request_s: float | None
    last: Name | None = None
    taken: list[Name | None] = field(default_factory=list)
    lanes: dict[Lane, list[tuple[Name, Name]]] = field(default_factory=lambda: {Lane.DOWNLOAD: [], Lane.UPLOAD: []})

    def add(self, iteration: int, instruction: Instruction) -> None:
        costs = self.plan[self.stage]
        name: Name = ("end", self.stage, self.replica, iteration, str(instruction))
        op, index = instruction.op, instruction.micro_batch
        share = 1.0 if index is None else self.shares[index]
        if op is Op.REDUCE:
            peers = range(costs.replicas)
            arrived = self.steps.add(("arrive", *name[1:]), 0.0, [self.last])
            others = [("arrive", self.stage, peer, *name[3:]) for peer in peers]
            self.last = self.steps.add(name, costs.synchronise_s, [arrived, *others])
        elif op is Op.STEP:
            self.last = self.steps.add(name, costs.step_s, [self.last])
        elif op in (Op.FORWARD, Op.BACKWARD):
            seconds = (costs.forward if op is Op.FORWARD else costs.backward).compute_s
            self.last = self.steps.add(name, seconds * share, [self.last])
        elif op.lane is Lane.UPLOAD:
            times = costs.forward if op is Op.SEND_ACTIVATION else costs.backward
            self._transfer(name, times.upload, share, Lane.UPLOAD, [self.last])
        else:
            self._download(name, iteration, instruction, share)

    def _download(self, name: Name, iteration: int, instruction: Instruction, share: float) -> None:
        costs = self.plan[self.stage]
        self.taken.append(self.last)
        ahead = len(self.taken) - IN_FLIGHT
        issued = self.steps.add(("issue", *name[1:]), 0.0, [self.taken[ahead] if ahead >= 0 else None])
        needs: list[Name | None] = [issued]
        if instruction.op in _SENT_BY:
            op, offset = _SENT_BY[instruction.op]
            sender = replica_of(instruction.micro_batch, self.plan[self.stage + offset].replicas)
            sent = Instruction(op, instruction.micro_batch)
            needs.append(("end", self.stage + offset, sender, iteration, str(sent)))
        times = costs.backward if instruction.op is Op.RECEIVE_GRADIENT else costs.forward
        beside = instruction.op is Op.LOAD and self.stage > 0
        self._transfer(name, Transfer() if beside else times.download, share, Lane.DOWNLOAD, needs)
        self.last = self.steps.add(("take", *name[1:]), 0.0, [self.last, name])
        if instruction.op in _SENT_BY and self.extra_request_s is not None:
            self.steps.add(("asked in vain", *name[1:]), self.extra_request_s, [issued])
            self.steps.add(("deleted", *name[1:]), self.extra_request_s, [self.last])

    def _transfer(self, name: Name, transfer: Transfer, share: float, lane: Lane, needs: list[Name | None]) -> None:
        before = self.lanes[lane]
        link_before = before[-1][0] if before else None
        room = before[-IN_FLIGHT][1] if len(before) >= IN_FLIGHT else None
        link = self.steps.add(("link", *name[1:]), transfer.link_s * share, [*needs, link_before, room])
        self.steps.add(name, transfer.latency_s, [link])
        before.append((link, name))


def naive_steps(
    plan: Sequence[StageCosts],
    shares: Sequence[float],
    iterations: int,
    schedule: ScheduleName = ScheduleName.GPIPE,
    extra_request_s: float | None = None,
) -> NaiveSteps:
    """All steps of all iterations."""
    steps = NaiveSteps()
    programs = gang_programs(schedule, [costs.replicas for costs in plan], len(shares))
    for (stage, replica), program in programs.items():
        worker = _Worker(steps, plan, stage, replica, shares, extra_request_s)
        for iteration in range(iterations):
            for instruction in program:
                worker.add(iteration, instruction)
    return steps
