"""Seconds per iteration that a schedule needs at given rates, if nobody ever waits for longer than it has to.

The gang is replayed as events. A worker computes one instruction after the other. Each direction of its link carries
one object at a time; an object takes the latency of a request and its share of the link, first up, then down, and is
asked for at the moment it is there. Nothing is taken from what a run waited for: only how long computing took, and
sizes.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from runtime.batches import replica_of
from runtime.manifest import Manifest
from runtime.schedule import Instruction, Op, Program, gang_programs
from runtime.synchronisation import Exchange

Place = tuple[int, int]
_SENT = {Op.SEND_ACTIVATION: (1, Op.RECEIVE_ACTIVATION), Op.SEND_GRADIENT: (-1, Op.RECEIVE_GRADIENT)}
"""By sending instruction: to which stage, and what receives it there."""
ITERATIONS = 3
"""Replayed; the last one counts, as the first one fills the pipeline."""


@dataclass(frozen=True)
class Rates:
    """What a replay goes by.

    Args:
        compute_s: of an instruction of the compute lane, by stage and kind.
        object_bytes: of what a stage sends, by stage and kind.
        bandwidth: bytes/s of a worker's link in each direction.
        exchanges: how the stages' replicas sum, by stage.
    """

    compute_s: Mapping[tuple[int, Op], float]
    object_bytes: Mapping[tuple[int, Op], float]
    bandwidth: float
    latency_s: float
    exchanges: Mapping[int, Exchange]


@dataclass
class _Worker:
    program: Program
    at: int = 0
    """The instruction that is next."""
    iteration: int = 0
    free_s: float = 0.0
    """When computing may go on."""
    up_free_s: float = 0.0
    down_free_s: float = 0.0
    arrived_s: dict[tuple[int, Instruction], float] = field(default_factory=dict)
    ends_s: list[float] = field(default_factory=list)


class _Replay:
    def __init__(self, manifest: Manifest, rates: Rates) -> None:
        training = manifest.training
        self._replicas = [stage.replicas for stage in manifest.stages]
        self._algorithms = [stage.synchronisation.algorithm for stage in manifest.stages]
        self._rates = rates
        micro_batches = -(-training.global_batch_size // training.micro_batch_size)
        programs = gang_programs(manifest.schedule, self._replicas, micro_batches)
        self.workers = {place: _Worker(program) for place, program in programs.items()}
        self._backward: dict[tuple[int, int], list[float]] = defaultdict(list)
        """By stage and iteration: when the replicas that are so far have ended their last backward."""
        self._waiting: set[Place] = set()
        """Workers whose gradients wait for those of other replicas."""
        self._events: list[tuple[float, int, Place, int, Instruction]] = []
        self._numbers = count()

    def run(self) -> None:
        for place in self.workers:
            self._go_on(place)
        while self._events:
            at_s, _, place, iteration, received = heapq.heappop(self._events)
            worker = self.workers[place]
            worker.down_free_s = max(at_s + self._rates.latency_s, worker.down_free_s) + self._takes(place, received)
            worker.arrived_s[iteration, received] = worker.down_free_s
            self._go_on(place)

    def _takes(self, receiver: Place, received: Instruction) -> float:
        by = next((-step, op) for op, (step, receives) in _SENT.items() if receives is received.op)
        return self._rates.object_bytes[receiver[0] + by[0], by[1]] / self._rates.bandwidth

    def _go_on(self, place: Place) -> None:
        """Executes what does not wait for an object."""
        worker = self.workers[place]
        while worker.iteration < ITERATIONS and place not in self._waiting:
            instruction = worker.program[worker.at]
            if instruction.op in (Op.RECEIVE_ACTIVATION, Op.RECEIVE_GRADIENT):
                arrived_s = worker.arrived_s.pop((worker.iteration, instruction), None)
                if arrived_s is None:
                    return
                worker.free_s = max(worker.free_s, arrived_s)
            elif instruction.op in _SENT:
                self._send(place, instruction)
            elif instruction.op is Op.REDUCE:
                if not self._reduce(place):
                    return
            else:
                worker.free_s += self._rates.compute_s.get((place[0], instruction.op), 0.0)
            worker.at += 1
            if worker.at == len(worker.program):
                worker.ends_s.append(worker.free_s)
                worker.at, worker.iteration = 0, worker.iteration + 1

    def _send(self, place: Place, instruction: Instruction) -> None:
        worker, (step, receives) = self.workers[place], _SENT[instruction.op]
        transfer_s = self._rates.object_bytes[place[0], instruction.op] / self._rates.bandwidth
        worker.up_free_s = max(worker.free_s + self._rates.latency_s, worker.up_free_s) + transfer_s
        stage, micro_batch = place[0] + step, instruction.micro_batch
        assert micro_batch is not None
        receiver = (stage, replica_of(micro_batch, self._replicas[stage]))
        received = Instruction(receives, micro_batch)
        event = (worker.up_free_s, next(self._numbers), receiver, worker.iteration, received)
        heapq.heappush(self._events, event)

    def _reduce(self, place: Place) -> bool:
        """Whether the stage's gradients are summed; the last replica to come here lets all others go on."""
        stage, worker = place[0], self.workers[place]
        ended = self._backward[stage, worker.iteration]
        ended.append(worker.free_s)
        if len(ended) < self._replicas[stage]:
            self._waiting.add(place)
            return False
        exchange = self._rates.exchanges[stage]
        algorithm = self._algorithms[stage]
        backward_s, done_s = self._rates.compute_s[stage, Op.BACKWARD], 0.0
        for bucket in range(1, exchange.buckets + 1):
            final_s = max(ended) - backward_s * (1 - bucket / exchange.buckets)
            done_s = max(done_s, final_s) + exchange.one_bucket.seconds(algorithm)
        for replica in range(self._replicas[stage]):
            other = self.workers[stage, replica]
            other.free_s = max(*ended, done_s)
            if (stage, replica) in self._waiting:
                self._waiting.discard((stage, replica))
                other.at += 1
                self._go_on((stage, replica))
        return True


def critical_path_s(manifest: Manifest, rates: Rates) -> float:
    """Seconds per iteration, once the pipeline is full."""
    replay = _Replay(manifest, rates)
    replay.run()
    ends = [max(worker.ends_s[iteration] for worker in replay.workers.values()) for iteration in range(ITERATIONS)]
    return ends[-1] - ends[-2]
