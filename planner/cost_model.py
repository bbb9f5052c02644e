"""Seconds, bytes and USD of a candidate stage and of a plan: FuncPipe's cost model (arXiv 2204.13561, section 4).

    t_iter = t_forward + max over stages i (t_backward_i + t_sync_i)
    t_forward    = Σ stages (download + compute + upload of one micro-batch) + max over stages (µ - 1)·slowest lane
    t_backward_i = the same of the backward pass over the stages i and after
    t_sync_i     = runtime.synchronisation's formula of the stage's algorithm

µ = ceil(micro-batches / replicas) differs between stages here, so it stands inside the maximum. Where all workers
share the cores of one machine (``Platform.shared_cores``), t_iter is also at least all work over those cores.

Schedules that keep fewer micro-batches than GPipe's add a bound (``waiting_s``): a worker waits for those that are
away.

Seconds are per iteration or per micro-batch as named, bytes are of one worker, USD per iteration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from planner.layer_sums import LayerSums
from planner.platforms import Platform
from planner.pricing import BYTES_PER_GB, tmp_gb_seconds
from planner.profile_format import Profile
from planner.stage_costs import LaneTimes, StageCosts, Transfer
from planner.stage_memory import MemoryModel, StageMemory
from runtime.limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MIN_TMP_MB
from runtime.manifest import Architecture
from runtime.pacing import range_count
from runtime.schedule import ScheduleName, kept_at_once
from runtime.spec import EXACT_WIRE, TrainingSpec, WireSpec
from runtime.synchronisation import Algorithm, Exchange, best_piece_bytes


@dataclass(frozen=True)
class PassedOn:
    """Requests and bytes: of one micro-batch to and from the stages beside, or of all replicas' summation."""

    puts: int
    gets: int
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True)
class Summation:
    """Of a stage's gradients over its replicas: seconds of one replica, requests of all."""

    exchange: Exchange
    seconds: float
    server_s: float
    passed: PassedOn


def _server_s(exchange: Exchange, algorithm: Algorithm) -> float:
    """``StageCosts.synchronise_server_s``: every request, the deletion of every object, and a replica's bytes."""
    n = exchange.replicas
    if n == 1:
        return 0.0
    requests = (2 * exchange.puts(algorithm) + exchange.gets(algorithm)) / n
    copies = n if algorithm is Algorithm.ALL_TO_ALL else 1 + 2 * (n - 1) / n
    return requests * exchange.latency_s + copies * exchange.gradient_bytes / exchange.bandwidth


def _exchanged_bytes(exchange: Exchange, algorithm: Algorithm) -> tuple[int, int]:
    """Bytes written and read by all replicas together, without headers."""
    n, size = exchange.replicas, exchange.gradient_bytes
    if n == 1:
        return 0, 0
    return n * size, (n * (n - 1) if algorithm is Algorithm.ALL_TO_ALL else 2 * (n - 1)) * size


class CostModel:
    """One profile on one platform, for one training section."""

    def __init__(
        self,
        *,
        profile: Profile,
        platform: Platform,
        training: TrainingSpec,
        architecture: Architecture,
        wire: WireSpec = EXACT_WIRE,
        ephemeral_storage_mb: int = LAMBDA_MIN_TMP_MB,
    ) -> None:
        self.ephemeral_storage_mb = ephemeral_storage_mb
        self.profile, self.platform, self.training, self.wire = profile, platform, training, wire
        self.usd_per_gb_s = platform.prices.lambda_.usd_per_gb_s.of(architecture)
        self.micro_batches = -(-training.global_batch_size // training.micro_batch_size)
        self.architecture = architecture
        empty = profile.base_bytes if platform.worker_bytes is None else round(platform.worker_bytes)
        base_bytes = empty + profile.library_bytes
        self._layers, self._memories = LayerSums(profile), MemoryModel(profile, training, wire, base_bytes)
        self._tmp_worth_gb = self.tmp_worth_gb(ephemeral_storage_mb)
        self._steps_s = [0.0, *accumulate(layer.step_s for layer in profile.layers)]
        self._compute: dict[int, tuple[list[float], list[float], float]] = {}
        self._lanes: dict[tuple[int, int, int, bool], tuple[LaneTimes, LaneTimes]] = {}
        self._exchanges: dict[tuple[int, int, float, int], Exchange] = {}
        self._passed: dict[tuple[int, int], PassedOn] = {}
        self._summed: dict[tuple[int, int, float, int, Algorithm], Summation] = {}

    @property
    def layer_count(self) -> int:
        return len(self.profile.layers)

    def micro_batches_per_replica(self, replicas: int) -> int:
        return -(-self.micro_batches // replicas)

    def activation_bytes(self, boundary: int) -> int:
        """On the wire, bytes of one micro-batch that enter layer ``boundary`` from another stage.

        All are counted as floating-point: the profile does not tell what part of a layer's output is not.
        """
        return round(self._layers.boundary_bytes(boundary) * self.wire.activations.share(self.training.dtype))

    def returned_bytes(self, boundary: int) -> int:
        """On the wire, bytes of one micro-batch's gradient with respect to what enters layer ``boundary``."""
        share = self.wire.activations.share(self.training.dtype)
        return round(self.profile.layers[boundary - 1].gradient_bytes * share)

    def _scaled(self, seconds: Sequence[float], memory_mb: int) -> float:
        """Seconds at a memory size from those that the profile lists."""
        return self.profile.seconds_at(seconds, memory_mb, self.platform.vcpus(memory_mb))

    def _compute_sums(self, memory_mb: int) -> tuple[list[float], list[float], float]:
        """Prefix sums of forward and of backward seconds, and the loss's seconds."""
        if memory_mb not in self._compute:
            layers = self.profile.layers
            self._compute[memory_mb] = (
                [0.0, *accumulate(self._scaled(layer.forward_s, memory_mb) for layer in layers)],
                [0.0, *accumulate(self._scaled(layer.backward_s, memory_mb) for layer in layers)],
                self._scaled(self.profile.loss_profile.seconds, memory_mb),
            )
        return self._compute[memory_mb]

    def summing_bandwidth(self, memory_mb: int) -> float:
        """Bytes/s at which a worker of this size can send and receive at once."""
        return min(self.platform.bandwidth(memory_mb), self.platform.upload_bandwidth(memory_mb))

    def exchange(self, first: int, end: int, memory_mb: int, replicas: int) -> Exchange:
        """The summation of a candidate stage's gradients over its replicas."""
        bandwidth = self.summing_bandwidth(memory_mb)
        if (first, end, bandwidth, replicas) in self._exchanges:
            return self._exchanges[first, end, bandwidth, replicas]
        latency_s = (self.platform.get_latency_s + self.platform.put_latency_s) / 2
        share = self.wire.gradients.share(self.training.dtype)
        exchange = Exchange(
            gradient_bytes=round(self._layers.total("trainable_parameter_bytes", first, end) * share),
            replicas=replicas,
            bandwidth=bandwidth,
            latency_s=latency_s,
            piece_bytes=best_piece_bytes(bandwidth, latency_s),
            widening=1 / share,
        )
        self._exchanges[first, end, bandwidth, replicas] = exchange
        return exchange

    def _synchronise_s(self, exchange: Exchange, algorithm: Algorithm) -> float:
        """The algorithm's formula, or what its requests take at the rate that one inbox admits."""
        puts_per_s, gets_per_s = self.platform.puts_per_s, self.platform.gets_per_s
        return max(
            exchange.seconds(algorithm),
            exchange.puts(algorithm) / puts_per_s if puts_per_s else 0.0,
            exchange.gets(algorithm) / gets_per_s if gets_per_s else 0.0,
        )

    def lanes(self, first: int, end: int, memory_mb: int, recompute: bool) -> tuple[LaneTimes, LaneTimes]:
        """Of the forward and of the backward pass."""
        shape = (first, end, memory_mb, recompute)
        if shape not in self._lanes:
            self._lanes[shape] = self._lanes_of(*shape)
        return self._lanes[shape]

    def _lanes_of(self, first: int, end: int, memory_mb: int, recompute: bool) -> tuple[LaneTimes, LaneTimes]:
        forward, backward, loss = self._compute_sums(memory_mb)
        opens, closes = first == 0, end == self.layer_count
        bandwidth, upload = self.platform.bandwidth(memory_mb), self.platform.upload_bandwidth(memory_mb)
        get, put = self.platform.get_latency_s, self.platform.put_latency_s
        samples = (self.profile.input_bytes if opens else 0) + (self.profile.target_bytes if closes else 0)
        received = 0 if opens else self.activation_bytes(first)
        forward_lanes = LaneTimes(
            download=Transfer((samples + received) / bandwidth, 0.0 if opens else get),
            compute_s=forward[end] - forward[first],
            upload=Transfer() if closes else Transfer(self.activation_bytes(end) / upload, put),
        )
        again = forward[end] - forward[first] + (loss if closes else 0.0) if recompute else 0.0
        backward_lanes = LaneTimes(
            download=Transfer() if closes else Transfer(self.returned_bytes(end) / bandwidth, get),
            compute_s=backward[end] - backward[first] + (loss if closes else 0.0) + again,
            upload=Transfer() if opens else Transfer(self.returned_bytes(first) / upload, put),
        )
        return forward_lanes, backward_lanes

    def summation(self, first: int, end: int, memory_mb: int, replicas: int, algorithm: Algorithm) -> Summation:
        """What summing the stage's gradients takes."""
        shape = (first, end, self.summing_bandwidth(memory_mb), replicas, algorithm)
        if shape not in self._summed:
            exchange = self.exchange(first, end, memory_mb, replicas)
            passed = PassedOn(
                exchange.puts(algorithm), exchange.gets(algorithm), *_exchanged_bytes(exchange, algorithm)
            )
            seconds, server_s = self._synchronise_s(exchange, algorithm), _server_s(exchange, algorithm)
            self._summed[shape] = Summation(exchange, seconds, server_s, passed)
        return self._summed[shape]

    def passed_on(self, first: int, end: int) -> PassedOn:
        """What a micro-batch moves to and from the stages beside."""
        if (first, end) not in self._passed:
            sent, got = [], []
            if first > 0:
                got.append(self.activation_bytes(first))
                sent.append(self.returned_bytes(first))
            if end < self.layer_count:
                got.append(self.returned_bytes(end))
                sent.append(self.activation_bytes(end))
            self._passed[first, end] = PassedOn(
                sum(map(range_count, sent)), sum(map(range_count, got)), sum(sent), sum(got)
            )
        return self._passed[first, end]

    def step_s(self, first: int, end: int, memory_mb: int) -> float:
        """Of the optimiser; a share of a vCPU takes longer, more than one are no help."""
        return (self._steps_s[end] - self._steps_s[first]) / min(1.0, self.platform.vcpus(memory_mb))

    def stage(
        self,
        first: int,
        end: int,
        memory_mb: int,
        replicas: int,
        algorithm: Algorithm = Algorithm.PIPELINED,
        recompute: bool = False,
    ) -> StageCosts:
        """The costs of one candidate stage."""
        forward, backward = self.lanes(first, end, memory_mb, recompute)
        summation, step = self.summation(first, end, memory_mb, replicas, algorithm), self.step_s(first, end, memory_mb)
        passed, summed, prices = self.passed_on(first, end), summation.passed, self.platform.storage_prices
        puts = self.micro_batches * passed.puts + summed.puts
        gets = self.micro_batches * passed.gets + summed.gets
        bytes_up = self.micro_batches * passed.bytes_up + summed.bytes_up
        bytes_down = self.micro_batches * passed.bytes_down + summed.bytes_down
        return StageCosts(
            first=first,
            end=end,
            memory_mb=memory_mb,
            replicas=replicas,
            algorithm=algorithm,
            piece_bytes=summation.exchange.piece_bytes,
            micro_batches=self.micro_batches_per_replica(replicas),
            forward=forward,
            backward=backward,
            synchronise_s=summation.seconds,
            synchronise_server_s=summation.server_s,
            step_s=step,
            puts=puts,
            gets=gets,
            work_s=self.micro_batches * (forward.path_s + backward.path_s) + replicas * (summation.seconds + step),
            bytes_up=bytes_up,
            bytes_down=bytes_down,
            request_usd=puts * prices.usd_per_put
            + gets * prices.usd_per_get
            + (bytes_up * prices.usd_per_gb_up + bytes_down * prices.usd_per_gb_down) / BYTES_PER_GB,
            recompute=recompute,
            exchange=summation.exchange,
            ephemeral_storage_mb=self.ephemeral_storage_mb,
            tmp_worth_gb=self._tmp_worth_gb,
        )

    def tmp_worth_gb(self, ephemeral_storage_mb: int) -> float:
        """``StageCosts.tmp_worth_gb``."""
        return (
            tmp_gb_seconds(ephemeral_storage_mb, 1.0)
            * self.platform.prices.lambda_.usd_per_tmp_gb_s
            / self.usd_per_gb_s
        )

    def memory(
        self,
        first: int,
        end: int,
        replicas: int,
        algorithm: Algorithm = Algorithm.PIPELINED,
        recompute: bool = False,
        kept: int | None = None,
    ) -> StageMemory:
        """What one worker of the stage holds at its peak.

        Args:
            recompute: whether it keeps the inputs of micro-batches rather than their activations.
            kept: micro-batches between forward and backward at once, where these alternate; None with GPipe, where
                that is all of the worker's.
        """
        # Pieces are largest where the link is fastest.
        exchange = self.exchange(first, end, LAMBDA_MAX_MEMORY_MB, replicas)
        micro_batches = self.micro_batches_per_replica(replicas)
        return self._memories.stage(first, end, exchange, micro_batches, algorithm, recompute, kept)

    def kept_bytes(self, first: int, end: int, recompute: bool) -> int:
        """What a micro-batch leaves with a worker between its forward and its backward pass."""
        return self._memories.kept_bytes(first, end, recompute)

    def iteration_s(self, stages: Sequence[StageCosts], schedule: ScheduleName = ScheduleName.GPIPE) -> float:
        """The closed form of the module docstring: seconds per iteration of a plan."""
        forward = sum(stage.forward.path_s for stage in stages) + max(stage.forward_queue_s for stage in stages)
        longest = path = queue = 0.0
        for stage in reversed(stages):
            path += stage.backward.path_s
            queue = max(queue, stage.backward_queue_s)
            longest = max(longest, path + queue + stage.closing_s)
        waiting = 0.0 if schedule is ScheduleName.GPIPE else self.waiting_s(stages, schedule)
        return max(forward + longest, self.work_bound_s(stages), waiting)

    def waiting_s(self, stages: Sequence[StageCosts], schedule: ScheduleName) -> float:
        """What an iteration takes at least where a stage keeps k of its µ micro-batches at once.

        The forward pass of micro-batch m + k follows the backward pass of m: ceil(µ / k) times a micro-batch goes from
        this stage to the last one and back. Of the last round the others' backward passes follow.
        """
        longest = behind = 0.0
        replicas = [stage.replicas for stage in stages]
        for index, stage in reversed(list(enumerate(stages))):
            kept = kept_at_once(schedule, index, replicas, self.micro_batches)
            turns = -(-stage.micro_batches // kept)
            last = stage.micro_batches - (turns - 1) * kept
            waits = turns * (stage.inner_s + behind) + (last - 1) * stage.backward.compute_s + stage.outer_s
            path = stage.forward.path_s + stage.backward.path_s
            longest = max(longest + path, waits + stage.closing_s)
            behind += path
        return longest

    def work_bound_s(self, stages: Sequence[StageCosts]) -> float:
        """Seconds per iteration that shared cores need at least; 0 where workers have cores of their own."""
        if not self.platform.shared_cores:
            return 0.0
        return sum(stage.work_s for stage in stages) / self.profile.host_cores

    def usd(self, stages: Sequence[StageCosts], iteration_s: float) -> float:
        """USD per iteration: functions' GB-seconds and requests to storage."""
        compute = self.usd_per_gb_s * sum(stage.total_gb for stage in stages) * iteration_s
        return compute + sum(stage.request_usd for stage in stages)
