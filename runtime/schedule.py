"""A schedule as data: what one worker does in one iteration, as a sequence of instructions that touches no tensor.

A worker has three lanes, and each executes its own instructions in the order given here, waiting only for what an
instruction needs. ``runtime.executor`` executes a schedule and ``planner.simulate`` replays it, so that prediction and
execution cannot disagree about the order of work; ``runtime.schedule_check`` proves that it ends.

3 stages, 1 replica each, 5 micro-batches, compute lane only. GPipe (Huang et al., arXiv 1811.06965):

    stage 0   F0 F1 F2 F3 F4 .  .  .  .  B0 B1 B2 B3 B4 U
    stage 1   .  F0 F1 F2 F3 F4 .  .  B0 B1 B2 B3 B4 U        R: replicas average gradients (none with 1 replica)
    stage 2   .  .  F0 F1 F2 F3 F4 B0 B1 B2 B3 B4 U           U: optimiser step

1F1B (PipeDream-flush; Narayanan et al., arXiv 2006.09503): as long, and stage 0 holds 3 micro-batches rather than 5.

    stage 0   F0 F1 F2 .  .  B0 F3 B1 F4 B2 .  B3 .  B4 U
    stage 1   .  F0 F1 .  B0 F2 B1 F3 B2 F4 B3 .  B4 U
    stage 2   .  .  F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 U

All schedules are one rule. A stage has a window w, counted in micro-batches of the global batch, of whichever replica:
forward of m + w comes after backward of m, forward of m + w - 1 before it. Windows never grow from a stage to the next,
and then workers cannot wait for each other in a circle, whatever the replicas: put F(s, m) at time m + a(s) and B(s, m)
just before m + w(s) + a(s), where a(s + 1) - a(s) = (w(s) - w(s + 1)) / 2. Then each worker's order and each message
point forward in time (at equal times, along the pipeline).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from runtime.batches import replica_of


class Lane(StrEnum):
    """What a worker can do at the same time: use its downlink, its vCPUs, and its uplink."""

    DOWNLOAD = "download"
    COMPUTE = "compute"
    UPLOAD = "upload"


class Op(StrEnum):
    """Kind of an instruction; the value is its short form."""

    LOAD = "L"
    """Fetch the samples of a micro-batch: inputs on the first stage, targets on the last."""
    RECEIVE_ACTIVATION = "RF"
    FORWARD = "F"
    SEND_ACTIVATION = "SF"
    RECEIVE_GRADIENT = "RB"
    BACKWARD = "B"
    SEND_GRADIENT = "SB"
    REDUCE = "R"
    """Average the stage's gradients over its replicas; drives all three lanes itself."""
    STEP = "U"

    @property
    def lane(self) -> Lane:
        if self in (Op.LOAD, Op.RECEIVE_ACTIVATION, Op.RECEIVE_GRADIENT):
            return Lane.DOWNLOAD
        if self in (Op.SEND_ACTIVATION, Op.SEND_GRADIENT):
            return Lane.UPLOAD
        return Lane.COMPUTE


@dataclass(frozen=True)
class Instruction:
    """One step of a worker; ``micro_batch`` is None for REDUCE and STEP."""

    op: Op
    micro_batch: int | None = None

    def __str__(self) -> str:
        return self.op.value if self.micro_batch is None else f"{self.op.value}{self.micro_batch}"


Program = tuple[Instruction, ...]


class ScheduleName(StrEnum):
    GPIPE = "gpipe"
    """All forwards before the first backward."""
    ONE_F_ONE_B = "1f1b"
    """As few micro-batches between forward and backward as keep all stages computing when transfers take no time."""
    EAGER_ONE_F_ONE_B = "eager_1f1b"
    """As few as do when a transfer takes up to half as long as a stage computes: the pause before the first backward of
    1F1B is filled with forwards (the idea of Zhuang et al., arXiv 2211.05322)."""


def kept_at_once(schedule: ScheduleName, stage: int, replicas: Sequence[int], micro_batches: int) -> int:
    """Micro-batches that a worker of the stage has between their forward and their backward, at most.

    GPipe: all of the worker's. 1F1B: the fewest that hide the rest of the pipeline. With one micro-batch per P seconds,
    a worker of a stage with d replicas may spend d·P on each. While one is away with the next stage, for w·P seconds
    where that stage's window is w, its worker needs ceil(w / d) others: with one replica everywhere, stage s of S keeps
    S - s, as published. Eager 1F1B counts the four transfers between the two stages besides, activation and gradient,
    each up and down. Full duplex links at the same pace carry the two stages' in (d + d')·P together.
    """
    everything = -(-micro_batches // replicas[stage])
    if schedule is ScheduleName.GPIPE:
        return everything
    kept = 1
    for at in reversed(range(stage, len(replicas) - 1)):
        degree, following = replicas[at], replicas[at + 1]
        away = kept * following
        if schedule is ScheduleName.EAGER_ONE_F_ONE_B:
            away += degree + following
        kept = 1 + -(-away // degree)
    return min(kept, everything)


def worker_program(
    schedule: ScheduleName, stage: int, replica: int, replicas: Sequence[int], micro_batches: int
) -> Program:
    """What one worker does in one iteration.

    Args:
        stage, replica: the worker's position.
        replicas: data-parallel degree of every stage.
        micro_batches: micro-batches of this global batch, over all replicas.

    Returns:
        The worker's instructions. A worker without a micro-batch (fewer micro-batches than replicas) still reduces.
    """
    first, last = stage == 0, stage == len(replicas) - 1
    window = kept_at_once(schedule, stage, replicas, micro_batches) * replicas[stage]
    mine = [m for m in range(micro_batches) if replica_of(m, replicas[stage]) == replica]
    # At its place in the stage's order; backward of m before forward of m + window.
    turns = [(m + window, 0, m) for m in mine] + [(m, 1, m) for m in mine]
    program: list[Instruction] = []
    for _, forward, m in sorted(turns):
        if forward:
            if first or last:
                program.append(Instruction(Op.LOAD, m))
            if not first:
                program.append(Instruction(Op.RECEIVE_ACTIVATION, m))
            program.append(Instruction(Op.FORWARD, m))
            if not last:
                program.append(Instruction(Op.SEND_ACTIVATION, m))
        else:
            if not last:
                program.append(Instruction(Op.RECEIVE_GRADIENT, m))
            program.append(Instruction(Op.BACKWARD, m))
            if not first:
                program.append(Instruction(Op.SEND_GRADIENT, m))
    if replicas[stage] > 1:
        program.append(Instruction(Op.REDUCE))
    program.append(Instruction(Op.STEP))
    return tuple(program)


def gang_programs(
    schedule: ScheduleName, replicas: Sequence[int], micro_batches: int
) -> dict[tuple[int, int], Program]:
    """By (stage, replica), what all workers of a plan with ``replicas[s]`` workers in stage s do in one iteration."""
    return {
        (stage, replica): worker_program(schedule, stage, replica, replicas, micro_batches)
        for stage, degree in enumerate(replicas)
        for replica in range(degree)
    }


def lanes(program: Iterable[Instruction]) -> dict[Lane, tuple[Instruction, ...]]:
    """The program split by lane, order kept."""
    instructions = tuple(program)
    return {lane: tuple(i for i in instructions if i.op.lane is lane) for lane in Lane}
