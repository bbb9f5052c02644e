"""One iteration of a plan as a graph of steps, made from the very schedule that its workers execute.

Work is a graph of steps; each begins when those it needs are done:

    sender's upload ──► link of the receiver ──► latency ──► compute ──► link of the sender ──► latency ──► ...
                            ▲ the transfer before it, and room among pacing.IN_FLIGHT

A lane is a chain of such steps in schedule order, as in the worker: a download is requested when the compute lane takes
the one IN_FLIGHT - 1 before it, also across iterations. Replicas that average gradients wait for each other.

Where links are timed (``timed_links``), a worker's two links serve whatever comes first, the sum of gradients is there
object by object (``planner.sum_steps``), and an object is only found when it is looked for (``planner.waiting``):

    request ──► link of the sender ──► search, from its request on ──► link of the receiver ──► compute ──► ...
"""

from collections.abc import Sequence

from planner.graph import COMMON, GANG, NO_DELAYS, TICKS_PER_S, Awaited, Delay, Delays, Need, Placed, Ports, Steps
from planner.sample_loads import SampleLoads
from planner.stage_costs import StageCosts, Transfer
from planner.sum_steps import Member, add_sum
from runtime.pacing import IN_FLIGHT, LONGEST_PAUSE_S
from runtime.schedule import Instruction, Lane, Op, ScheduleName, gang_programs
from runtime.schedule_check import UPLOADS

SENT_BY = {Op.RECEIVE_ACTIVATION: (Op.SEND_ACTIVATION, -1), Op.RECEIVE_GRADIENT: (Op.SEND_GRADIENT, 1)}
"""What a receive waits for: the sender's instruction, and where its stage is."""


def put_gate(stage: int) -> int:
    """The rate limit of requests that write to a stage's inbox."""
    return 2 * stage


def get_gate(stage: int) -> int:
    """The rate limit of requests that read it."""
    return 2 * stage + 1


def ago(chain: Sequence[int], position: int, distance: int) -> Need:
    """What stands ``distance`` before ``chain[position]``, the chain being repeated every iteration; and how many
    iterations ago."""
    iterations, index = divmod(position - distance, len(chain))
    return chain[index], -iterations


class StepsOfPlan:
    """Builds the graph: first all steps, then what each needs.

    Args:
        shares: size of each micro-batch of a global batch, as a share of a full micro-batch.
        serial: whether one server takes the requests of all workers, one at a time, with what they carry.
        extra_request_s: seconds of a request that carries nothing, where it takes a part of something shared: looks
            for absent objects and deletions then become steps as well. None where nothing waits for those.
        timed_links: whether transfers wait for links of their own, so that they take none of the cores that are shared,
            and objects are looked for as workers do.
        loads: what fetching samples takes, where that is told apart; None: each micro-batch brings its own.
        delays: what the machine adds; only where links are timed.
    """

    def __init__(
        self,
        plan: Sequence[StageCosts],
        *,
        schedule: ScheduleName,
        shares: Sequence[float],
        serial: bool,
        extra_request_s: float | None,
        timed_links: bool = False,
        loads: SampleLoads | None = None,
        delays: Delays = NO_DELAYS,
    ) -> None:
        self.steps = Steps()
        self._loads, self._delays = loads, delays
        self._loading: set[tuple[int, int]] = set()
        """Workers that have a load already."""
        self._plan, self._shares, self._timed_links = plan, shares, timed_links
        self._serial, self._extra_request_s = serial, extra_request_s
        self._sent: dict[tuple[int, Instruction], int] = {}
        """Last step of each upload by stage and instruction; a micro-batch has one replica."""
        programs = gang_programs(schedule, [costs.replicas for costs in plan], len(shares))
        self._ports = {place: Ports(COMMON + 1 + 2 * number) for number, place in enumerate(programs)}
        workers = [
            [self._place(stage, replica, instruction) for instruction in program]
            for (stage, replica), program in programs.items()
        ]
        for worker in workers:
            self._connect(worker)
            if timed_links and loads is not None:
                self._begin(worker)
        if timed_links:
            self._sum_gradients(workers)
        else:
            self._join_replicas(workers)

    def _place(self, stage: int, replica: int, instruction: Instruction) -> Placed:
        """Adds an instruction's steps."""
        costs, op, index = self._plan[stage], instruction.op, instruction.micro_batch
        share, ports = 1.0 if index is None else self._shares[index], self._ports[stage, replica]
        direction = costs.backward if op in (Op.BACKWARD, Op.SEND_GRADIENT, Op.RECEIVE_GRADIENT) else costs.forward
        link = issue = None
        match op.lane:
            case Lane.COMPUTE:
                if op is Op.REDUCE and self._timed_links:
                    issue, last = self.steps.add(0.0, works=False), self.steps.add(0.0, works=False)
                elif op is Op.REDUCE and self._serial:
                    last = self.steps.add(costs.synchronise_server_s, server=COMMON)
                else:
                    last = self.steps.add(
                        self._compute_s(costs, op, share),
                        delay=Delay(self._delays.instruction_s, ports.up, computes=True),
                    )
            case Lane.UPLOAD:
                inbox = stage + (1 if op is Op.SEND_ACTIVATION else -1)
                link, last = self._upload(direction.upload, share, put_gate(inbox), ports)
                self._sent[stage, instruction] = last
            case Lane.DOWNLOAD:
                issue = self.steps.add(0.0)
                transfer = self._download(stage, op, direction.download)
                link, last = self._transfer(transfer, share, None if op is Op.LOAD else get_gate(stage), ports)
                if op is Op.LOAD and self._loads is not None and (stage, replica) not in self._loading:
                    self._loading.add((stage, replica))
                    self.steps.once[link] = self._loads.first_s[stage]
        placed = Placed(stage, replica, instruction, last, link, issue)
        self.steps.placed.append(placed)
        return placed

    def _download(self, stage: int, op: Op, download: Transfer) -> Transfer:
        """A download's transfer, given that of its direction: samples come with the first stage's loads, and with the
        activations of the last."""
        if op is Op.LOAD and stage > 0:
            return Transfer()
        carries = op is Op.LOAD or (op is Op.RECEIVE_ACTIVATION and stage == len(self._plan) - 1)
        if not carries or self._loads is None or not self._loads.cached:
            return download
        return Transfer(max(0.0, download.link_s - self._loads.each_s[stage]), download.latency_s)

    @staticmethod
    def _compute_s(costs: StageCosts, op: Op, share: float) -> float:
        if op is Op.REDUCE:
            return costs.synchronise_s
        if op is Op.STEP:
            return costs.step_s
        return (costs.forward if op is Op.FORWARD else costs.backward).compute_s * share

    def _upload(self, transfer: Transfer, share: float, gate: int, ports: Ports) -> tuple[int, int]:
        if not self._timed_links:
            return self._transfer(transfer, share, gate, ports)
        request = self.steps.add(transfer.latency_s, works=False, delay=Delay(self._delays.object_s, ports.up))
        return request, self.steps.add(transfer.link_s * share, server=ports.up, works=False)

    def _transfer(self, transfer: Transfer, share: float, gate: int | None, ports: Ports) -> tuple[int, int]:
        if self._serial and transfer.whole_s > 0:
            return self.steps.add(transfer.link_s * share + transfer.latency_s, server=COMMON), self.steps.add(0.0)
        if self._timed_links:
            link = self.steps.add(transfer.link_s * share, server=ports.down, works=False)
            delay = Delay(self._delays.object_s, ports.up) if transfer.whole_s else None
            return link, self.steps.add(transfer.latency_s, works=False, delay=delay)
        return self.steps.add(transfer.link_s * share, gate=gate), self.steps.add(transfer.latency_s)

    def _connect(self, worker: Sequence[Placed]) -> None:
        """Adds the needs of one worker's steps."""
        needs = self.steps.needs
        compute: list[int] = []
        taken: list[int] = []
        """Positions on the compute lane at which downloads are taken."""
        handed: list[int] = []
        """Where uploads are handed over."""
        lanes: dict[Lane, list[Placed]] = {Lane.DOWNLOAD: [], Lane.UPLOAD: []}
        for placed in worker:
            lane = placed.instruction.op.lane
            if lane is Lane.COMPUTE:
                compute += [placed.last] if placed.issue is None else [placed.issue, placed.last]
            else:
                lanes[lane].append(placed)
            if lane is Lane.DOWNLOAD:
                take = self.steps.add(0.0)
                needs[take].append((placed.last, 0))
                taken.append(len(compute))
                compute.append(take)
            elif lane is Lane.UPLOAD:
                assert placed.link is not None
                if self._timed_links:  # no more are taken on than there are slots for
                    handed.append(self.steps.add(0.0, works=False))
                    compute.append(handed[-1])
                needs[placed.link].append((compute[-1], 0))
        for position, step in enumerate(compute):
            needs[step].append(ago(compute, position, 1))
        for lane_placed in lanes.values():
            links = [placed.link for placed in lane_placed if placed.link is not None]
            ends = [placed.last for placed in lane_placed]
            for position, (link, end) in enumerate(zip(links, ends, strict=True)):
                needs[end].append((link, 0))
                needs[link].append(ago(ends, position, IN_FLIGHT))
                if not self._timed_links:
                    needs[link].append(ago(links, position, 1))
        if self._timed_links:
            self._look(worker)
            ends = [placed.last for placed in lanes[Lane.UPLOAD]]
            for position, hand in enumerate(handed):
                needs[hand].append(ago(ends, position, UPLOADS))
        for position, placed in enumerate(lanes[Lane.DOWNLOAD]):
            at, iterations = ago(taken, position, IN_FLIGHT - 1)
            before, earlier = ago(compute, at, 1)
            self._request(placed, compute[taken[position]], (before, iterations + earlier))

    def _begin(self, worker: Sequence[Placed]) -> None:
        """All but the leader learn by a look, of those that are LONGEST_PAUSE_S apart by then, that the gang is there
        (``runtime.barrier``)."""
        begin = self.steps.add(0.0, works=False)
        if (worker[0].stage, worker[0].replica) != (0, 0):
            self.steps.starts[begin] = LONGEST_PAUSE_S
        for placed in worker:
            if placed.issue is not None and placed.instruction.op.lane is Lane.DOWNLOAD:
                self.steps.needs[placed.issue].append((begin, 0))

    def _request(self, placed: Placed, take: int, requested: Need) -> None:
        """Adds what a download needs besides its lane."""
        needs, instruction = self.steps.needs, placed.instruction
        assert placed.issue is not None and placed.link is not None
        needs[placed.issue].append(requested)
        needs[placed.link].append((placed.issue, 0))
        if instruction.op not in SENT_BY:
            return
        if not self._timed_links:
            needs[placed.link].append((self._sender(placed), 0))
        if self._extra_request_s is not None:
            for need in (placed.issue, take):  # a look in vain, and the deletion
                extra = self.steps.add(self._extra_request_s, server=COMMON if self._serial else None)
                needs[extra].append((need, 0))

    def _sender(self, placed: Placed) -> int:
        """The step after which the object that is received is there."""
        op, offset = SENT_BY[placed.instruction.op]
        return self._sent[placed.stage + offset, Instruction(op, placed.instruction.micro_batch)]

    def _look(self, worker: Sequence[Placed]) -> None:
        """Adds the searches of one worker: each begins when the object before it was found, or was there already."""
        needs, steps = self.steps.needs, self.steps
        received = [placed for placed in worker if placed.instruction.op in SENT_BY]
        searches = []
        before: Op | None = None
        for placed in received:
            assert placed.issue is not None and placed.link is not None
            assert placed.instruction.micro_batch is not None
            name = GANG.activation if placed.instruction.op is Op.RECEIVE_ACTIVATION else GANG.gradient
            latency_s = steps.durations[placed.last] / TICKS_PER_S
            steps.durations[placed.last] = 0  # it goes before the transfer
            search = steps.add(latency_s, works=False)
            steps.looks[search] = Awaited(
                self._ports[placed.stage, placed.replica].down,
                name(0, placed.instruction.micro_batch),
                placed.issue,
                self._sender(placed),
                latency_s,
                follows=placed.instruction.op is before,
            )
            before = placed.instruction.op
            needs[search] += [(placed.issue, 0), (self._sender(placed), 0)]
            needs[placed.link].append((search, 0))
            searches.append(search)
        for position, search in enumerate(searches):
            needs[search].append(ago(searches, position, 1))

    def _sum_gradients(self, workers: Sequence[Sequence[Placed]]) -> None:
        for stage, costs in enumerate(self._plan):
            reduces = [p for worker in workers for p in worker if p.stage == stage and p.instruction.op is Op.REDUCE]
            if costs.exchange is None or not reduces:
                continue
            members = [
                Member(p.issue, p.last, self._ports[p.stage, p.replica], self._uploads(workers, p))
                for p in reduces
                if p.issue is not None
            ]
            add_sum(self.steps, costs.exchange, costs.algorithm, members, self._delays.object_s)

    @staticmethod
    def _uploads(workers: Sequence[Sequence[Placed]], reduce: Placed) -> tuple[int, ...]:
        """The ends of a worker's last uploads: its sum lets them go first."""
        uploads = [
            placed.last
            for worker in workers
            for placed in worker
            if (placed.stage, placed.replica) == (reduce.stage, reduce.replica)
            and placed.instruction.op.lane is Lane.UPLOAD
        ]
        return tuple(uploads[-IN_FLIGHT:])

    def _join_replicas(self, workers: Sequence[Sequence[Placed]]) -> None:
        """Gradients are summed when all replicas of a stage have theirs."""
        needs = self.steps.needs
        for stage, costs in enumerate(self._plan):
            if costs.replicas == 1:
                continue
            arrived = self.steps.add(0.0)
            for placed in (p for worker in workers for p in worker if p.stage == stage):
                if placed.instruction.op is Op.REDUCE:
                    needs[arrived] += needs[placed.last]
                    needs[placed.last] = [(arrived, 0)]
