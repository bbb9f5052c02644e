"""Whether the programs of a gang fit together, before any of them runs: pure functions, no torch.

A program is executed by one thread that takes what it needs from the download lane and hands what it makes to the
upload lane; what happens before what is a graph over all workers:

    thread    ── F0 ──► hand SF0 ──────► take RB0 ──► B0 ──►      each instruction after the one before it
                           │    ▲            ▲
    uploads                └──► SF0 ...      │                    in order; a bounded number handed over and not done
    downloads                       ... RB0 ─┘                    in order; a bounded number requested ahead

The gang ends, whatever the durations, if and only if that graph has no circle. ``find_faults`` looks for one over
several iterations, because downloads run ahead into the next; ``finish_times`` gives each instruction a time on it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from runtime.batches import replica_of
from runtime.pacing import IN_FLIGHT
from runtime.schedule import Instruction, Lane, Op, Program

Worker = tuple[int, int]
"""(stage, replica)."""
Place = tuple[Worker, int]
"""An instruction by its worker and its number, counted over all iterations."""

UPLOADS = IN_FLIGHT
"""Handed over and not yet done, at most (``runtime.lanes``)."""

_MIRROR = {
    Op.SEND_ACTIVATION: (Op.RECEIVE_ACTIVATION, 1),
    Op.SEND_GRADIENT: (Op.RECEIVE_GRADIENT, -1),
    Op.RECEIVE_ACTIVATION: (Op.SEND_ACTIVATION, -1),
    Op.RECEIVE_GRADIENT: (Op.SEND_GRADIENT, 1),
}
"""What the other end of a message does, and how many stages on it is."""


def peak_kept(program: Program) -> int:
    """Micro-batches between their forward and the end of their backward, at most, over the program."""
    kept = peak = 0
    for instruction in program:
        kept += (instruction.op is Op.FORWARD) - (instruction.op is Op.BACKWARD)
        peak = max(peak, kept)
    return peak


def find_faults(
    programs: Mapping[Worker, Program], *, in_flight: int = IN_FLIGHT, uploads: int = UPLOADS, iterations: int = 2
) -> list[str]:
    """What is wrong with a gang's programs of one iteration; nothing when they can be executed.

    Args:
        in_flight: downloads that are requested ahead, the one that is taken included.
        uploads: that may be handed over and not done.
        iterations: that follow one another without a pause.
    """
    faults = [fault for worker, program in programs.items() for fault in _faults_of_one(worker, program, programs)]
    faults += _unmatched(programs)
    if faults:  # a message that nobody sends would be reported again as a wait without end
        return faults
    return _Graph(programs, in_flight, uploads, iterations).stuck()


def finish_times(
    programs: Mapping[Worker, Program],
    seconds: Callable[[Worker, Instruction], float],
    *,
    in_flight: int = IN_FLIGHT,
    uploads: int = UPLOADS,
    iterations: int = 1,
) -> dict[Place, tuple[float, float]]:
    """When each instruction begins and ends if it takes ``seconds`` and each lane does one at a time.

    Of a transfer, the time on its lane. An averaging takes as long as its slowest replica says.

    Raises:
        ValueError: the programs do not fit together; the message holds the first finding.
    """
    graph = _Graph(programs, in_flight, uploads, iterations)
    times = graph.times(seconds)
    if stuck := graph.stuck():
        raise ValueError(stuck[0])
    return times


def _name(worker: Worker) -> str:
    return f"stage {worker[0]} replica {worker[1]}"


def _faults_of_one(worker: Worker, program: Program, programs: Mapping[Worker, Program]) -> Iterator[str]:
    """A program on its own: each instruction once, and after what makes what it needs."""
    stage, replica = worker
    replicas = sum(other == stage for other, _ in programs)
    last = max(other for other, _ in programs)
    done: set[Instruction] = set()
    for instruction in program:
        if instruction in done:
            yield f"{_name(worker)}: {instruction} comes twice"
        index = instruction.micro_batch
        if index is not None and replica_of(index, replicas) != replica:
            yield f"{_name(worker)}: {instruction} belongs to replica {replica_of(index, replicas)}"
        needs: list[Op] = []
        if instruction.op is Op.FORWARD:
            needs = [Op.LOAD] * (stage in (0, last)) + [Op.RECEIVE_ACTIVATION] * (stage > 0)
        elif instruction.op is Op.BACKWARD:
            needs = [Op.FORWARD] + [Op.RECEIVE_GRADIENT] * (stage < last)
        elif instruction.op is Op.SEND_ACTIVATION:
            needs = [Op.FORWARD]
        elif instruction.op is Op.SEND_GRADIENT:
            needs = [Op.BACKWARD]
        for need in needs:
            if Instruction(need, index) not in done:
                yield f"{_name(worker)}: {instruction} comes before {Instruction(need, index)}"
        done.add(instruction)
    forwards = {i.micro_batch for i in done if i.op is Op.FORWARD}
    backwards = {i.micro_batch for i in done if i.op is Op.BACKWARD}
    for index in sorted(forwards - backwards):  # type: ignore[type-var]
        yield f"{_name(worker)}: F{index} has no B{index}"
    closing = (Instruction(Op.REDUCE),) * (replicas > 1) + (Instruction(Op.STEP),)
    if program[-len(closing) :] != closing:
        yield f"{_name(worker)}: does not end with {' '.join(map(str, closing))}"


def _unmatched(programs: Mapping[Worker, Program]) -> Iterator[str]:
    """Messages without another end, and micro-batches that a stage leaves out."""
    replicas: dict[int, int] = {}
    for stage, _ in programs:
        replicas[stage] = replicas.get(stage, 0) + 1
    everywhere = {(worker, instruction) for worker, program in programs.items() for instruction in program}
    for (stage, replica), instruction in sorted(everywhere, key=lambda item: (item[0], str(item[1]))):
        if instruction.op not in _MIRROR:
            continue
        op, offset = _MIRROR[instruction.op]
        other = stage + offset
        index: int = instruction.micro_batch  # type: ignore[assignment]
        end = ((other, replica_of(index, replicas[other])), Instruction(op, index)) if other in replicas else None
        if end not in everywhere:
            verb = "is awaited by nobody" if op in (Op.RECEIVE_ACTIVATION, Op.RECEIVE_GRADIENT) else "is sent by nobody"
            yield f"{_name((stage, replica))}: {instruction} {verb}"
    forwards = {
        stage: {i.micro_batch for (s, _), i in everywhere if s == stage and i.op is Op.FORWARD} for stage in replicas
    }
    every = set().union(*forwards.values())
    for stage, found in forwards.items():
        for index in sorted(every - found):  # type: ignore[type-var]
            yield f"stage {stage}: leaves out micro-batch {index}"


@dataclass
class _Graph:
    """Steps and what each needs. Each instruction is a step of its worker's thread; a transfer is one of its lane, too.

    Steps are numbers; ``_place`` says which instruction a step belongs to and whether it is the lane's.
    """

    programs: Mapping[Worker, Program]
    in_flight: int
    uploads: int
    iterations: int
    _place: list[tuple[Place, bool]] = field(default_factory=list)
    _needs: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sent: dict[tuple[int, int, Instruction], int] = {}
        """By iteration, receiving stage and receiving instruction: the step that uploads the message."""
        awaiting: list[tuple[int, int, int, Instruction]] = []
        meeting: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        for worker, program in self.programs.items():
            self._add_worker(worker, program, awaiting, meeting)
        for step, iteration, stage, instruction in awaiting:
            self._needs[step].append(self._sent[iteration, stage, instruction])
        for before, reduces in meeting.values():
            for step in reduces:
                self._needs[step] += before

    def _step(self, place: Place, lane: bool, needs: list[int]) -> int:
        self._place.append((place, lane))
        self._needs.append(needs)
        return len(self._needs) - 1

    def _add_worker(
        self,
        worker: Worker,
        program: Program,
        awaiting: list[tuple[int, int, int, Instruction]],
        meeting: dict[tuple[int, int], tuple[list[int], list[int]]],
    ) -> None:
        stage = worker[0]
        thread: list[int] = []
        """The last step of the thread, as a list so that there may be none."""
        before_takes: list[list[int]] = []
        downloads: list[int] = []
        sends: list[int] = []
        requested: list[int] = []
        """Downloads, in order; what they wait for is known only when the thread's steps are."""
        for number, (iteration, instruction) in enumerate(
            (iteration, instruction) for iteration in range(self.iterations) for instruction in program
        ):
            place = (worker, number)
            lane = instruction.op.lane
            if lane is Lane.DOWNLOAD:
                before_takes.append(thread)
                arrival = self._step(place, True, downloads[-1:])
                if instruction.op in _MIRROR:
                    awaiting.append((arrival, iteration, stage, instruction))
                downloads.append(arrival)
                requested.append(arrival)
                thread = [self._step(place, False, [*thread, arrival])]
            elif lane is Lane.UPLOAD:
                room = sends[-self.uploads :][:1] if len(sends) >= self.uploads else []
                thread = [self._step(place, False, [*thread, *room])]
                op, offset = _MIRROR[instruction.op]
                upload = self._step(place, True, [*thread, *sends[-1:]])
                sends.append(upload)
                self._sent[iteration, stage + offset, Instruction(op, instruction.micro_batch)] = upload
            else:
                before = thread
                thread = [self._step(place, False, list(before))]
                if instruction.op is Op.REDUCE:
                    arrived, reduces = meeting.setdefault((iteration, stage), ([], []))
                    arrived += before
                    reduces += thread
        for index, arrival in enumerate(requested):
            self._needs[arrival] += before_takes[max(0, index - self.in_flight + 1)]

    def _instruction(self, place: Place) -> Instruction:
        worker, number = place
        program = self.programs[worker]
        return program[number % len(program)]

    def _order(self) -> tuple[list[int], list[int]]:
        """Steps so that each comes after those it needs, as far as that is possible; and how many needs are left."""
        waiting = [len(needs) for needs in self._needs]
        needed_by: list[list[int]] = [[] for _ in self._needs]
        for step, needs in enumerate(self._needs):
            for need in needs:
                needed_by[need].append(step)
        order = [step for step, count in enumerate(waiting) if count == 0]
        for step in order:  # which grows while it is read
            for following in needed_by[step]:
                waiting[following] -= 1
                if waiting[following] == 0:
                    order.append(following)
        return order, waiting

    def stuck(self) -> list[str]:
        """The first instruction of each worker that never ends."""
        _, waiting = self._order()
        first: dict[Worker, Place] = {}
        for (place, lane), count in zip(self._place, waiting, strict=True):
            if count and not lane:
                first.setdefault(place[0], place)
        return [
            f"{_name(place[0])}: waits without end at {self._instruction(place)}, iteration "
            f"{place[1] // len(self.programs[place[0]])}"
            for place in first.values()
        ]

    def times(self, seconds: Callable[[Worker, Instruction], float]) -> dict[Place, tuple[float, float]]:
        """(begin, end) of each instruction: on its lane where it has one."""
        ends = [0.0] * len(self._needs)
        found: dict[Place, tuple[float, float]] = {}
        for step in self._order()[0]:
            place, on_lane = self._place[step]
            instruction = self._instruction(place)
            begin = max((ends[need] for need in self._needs[step]), default=0.0)
            takes_time = on_lane or instruction.op.lane is Lane.COMPUTE
            ends[step] = begin + (seconds(place[0], instruction) if takes_time else 0.0)
            if takes_time:
                found[place] = (begin, ends[step])
        return found
