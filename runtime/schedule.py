"""A schedule as data: what one worker does in one iteration, as a sequence of instructions that touches no tensor.

A worker has three lanes, and each executes its own instructions in the order given here, waiting only for what an
instruction needs. ``runtime.executor`` executes a schedule and ``planner.simulate`` replays it, so that prediction and
execution cannot disagree about the order of work.

GPipe (Huang et al., arXiv 1811.06965), 3 stages, 1 replica each, 3 micro-batches, compute lane only:

    stage 0   F0 F1 F2 .  .  .  .  B0 B1 B2 U
    stage 1   .  F0 F1 F2 .  .  B0 B1 B2 R U        R: replicas average gradients (none with 1 replica)
    stage 2   .  .  F0 F1 F2 B0 B1 B2 U             U: optimiser step
"""

from collections.abc import Iterable
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


class ScheduleName(StrEnum):
    GPIPE = "gpipe"


def gpipe(stage: int, stages: int, replica: int, replicas: int, micro_batches: int) -> tuple[Instruction, ...]:
    """All forwards, then all backwards, each in micro-batch order; then gradients are averaged and applied.

    Args:
        stage, stages: position of the worker's stage, counted from 0, and number of stages.
        replica, replicas: position of the worker in its stage, and the stage's data-parallel degree.
        micro_batches: micro-batches of this global batch, over all replicas.

    Returns:
        The worker's instructions. A worker without a micro-batch (fewer micro-batches than replicas) still reduces.
    """
    first, last = stage == 0, stage == stages - 1
    mine = [m for m in range(micro_batches) if replica_of(m, replicas) == replica]
    program: list[Instruction] = []
    for m in mine:
        if first or last:
            program.append(Instruction(Op.LOAD, m))
        if not first:
            program.append(Instruction(Op.RECEIVE_ACTIVATION, m))
        program.append(Instruction(Op.FORWARD, m))
        if not last:
            program.append(Instruction(Op.SEND_ACTIVATION, m))
    for m in mine:
        if not last:
            program.append(Instruction(Op.RECEIVE_GRADIENT, m))
        program.append(Instruction(Op.BACKWARD, m))
        if not first:
            program.append(Instruction(Op.SEND_GRADIENT, m))
    if replicas > 1:
        program.append(Instruction(Op.REDUCE))
    program.append(Instruction(Op.STEP))
    return tuple(program)


SCHEDULES = {ScheduleName.GPIPE: gpipe}


def lanes(program: Iterable[Instruction]) -> dict[Lane, tuple[Instruction, ...]]:
    """The program split by lane, order kept."""
    instructions = tuple(program)
    return {lane: tuple(i for i in instructions if i.op.lane is lane) for lane in Lane}
