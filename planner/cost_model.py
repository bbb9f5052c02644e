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

Ranges of layers are those of one stage, or columns of the boundaries of many, whose figures are columns then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from planner.boundaries import Boundaries, PassedOn
from planner.layer_sums import Figure, Figures, Index, LayerSums, Sums, whole
from planner.platforms import Platform
from planner.pricing import BYTES_PER_GB, tmp_gb_seconds
from planner.profile_format import Profile
from planner.stage_costs import LaneTimes, StageCosts, Transfer
from planner.stage_memory import MemoryModel, StageMemory
from runtime.limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MIN_TMP_MB
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName, kept_at_once
from runtime.spec import EXACT_WIRE, TrainingSpec, WireSpec
from runtime.synchronisation import Algorithm, Exchange, best_piece_bytes, larger


@dataclass(frozen=True)
class Summation:
    """Of a stage's gradients over its replicas: seconds of one replica, requests of all."""

    exchange: Exchange
    seconds: Figure
    server_s: Figure
    passed: PassedOn


def _server_s(exchange: Exchange, algorithm: Algorithm) -> Figure:
    """``StageCosts.synchronise_server_s``: every request, the deletion of every object, and a replica's bytes."""
    n = exchange.replicas
    if n == 1:
        return 0.0
    requests = (2 * exchange.puts(algorithm) + exchange.gets(algorithm)) / n
    copies = n if algorithm is Algorithm.ALL_TO_ALL else 1 + 2 * (n - 1) / n
    return requests * exchange.latency_s + copies * exchange.gradient_bytes / exchange.bandwidth


def _exchanged_bytes(exchange: Exchange, algorithm: Algorithm) -> tuple[Figure, Figure]:
    """Bytes written and read by all replicas together, without headers."""
    n, size = exchange.replicas, exchange.gradient_bytes
    if n == 1:
        return 0, 0
    return n * size, (n * (n - 1) if algorithm is Algorithm.ALL_TO_ALL else 2 * (n - 1)) * size


def _known(known: dict[Any, Any], find: Callable[..., Any], first: Index, end: Index, *others: object) -> Any:
    """Of one stage found once and then remembered; of columns found each time."""
    if not isinstance(first, int):
        return find(first, end, *others)
    if (first, end, *others) not in known:
        known[first, end, *others] = find(first, end, *others)
    return known[first, end, *others]


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
        self._steps = Sums(layer.step_s for layer in profile.layers)
        self._compute: dict[int, tuple[Sums, Sums, Figures]] = {}
        self._lanes: dict[tuple[int, int, int, bool], tuple[LaneTimes, LaneTimes]] = {}
        self._exchanges: dict[tuple[int, int, float, int], Exchange] = {}
        self._passed: dict[tuple[int, int], PassedOn] = {}
        self._summed: dict[tuple[int, int, float, int, Algorithm], Summation] = {}
        self._boundaries = Boundaries(self._layers, platform, wire.activations.share(training.dtype))

    @property
    def layer_count(self) -> int:
        return len(self.profile.layers)

    def micro_batches_per_replica(self, replicas: int) -> int:
        return -(-self.micro_batches // replicas)

    def _scaled(self, seconds: Sequence[float], memory_mb: int) -> float:
        """Seconds at a memory size from those that the profile lists."""
        return self.profile.seconds_at(seconds, memory_mb, self.platform.vcpus(memory_mb))

    def _compute_sums(self, memory_mb: int) -> tuple[Sums, Sums, Figures]:
        """Of forward and of backward seconds; by boundary, the loss's seconds of a stage that ends there."""
        if memory_mb not in self._compute:
            layers = self.profile.layers
            self._compute[memory_mb] = (
                Sums(self._scaled(layer.forward_s, memory_mb) for layer in layers),
                Sums(self._scaled(layer.backward_s, memory_mb) for layer in layers),
                Figures([*[0.0] * len(layers), self._scaled(self.profile.loss_profile.seconds, memory_mb)]),
            )
        return self._compute[memory_mb]

    def summing_bandwidth(self, memory_mb: int) -> float:
        """Bytes/s at which a worker of this size can send and receive at once."""
        return min(self.platform.bandwidth(memory_mb), self.platform.upload_bandwidth(memory_mb))

    def exchange(self, first: Index, end: Index, memory_mb: int, replicas: int) -> Exchange:
        """The summation of a candidate stage's gradients over its replicas."""
        bandwidth = self.summing_bandwidth(memory_mb)
        return _known(self._exchanges, self._exchange_of, first, end, bandwidth, replicas)

    def _exchange_of(self, first: Index, end: Index, bandwidth: float, replicas: int) -> Exchange:
        latency_s = (self.platform.get_latency_s + self.platform.put_latency_s) / 2
        share = self.wire.gradients.share(self.training.dtype)
        return Exchange(
            gradient_bytes=whole(self._layers.trainable.between(first, end) * share),
            replicas=replicas,
            bandwidth=bandwidth,
            latency_s=latency_s,
            piece_bytes=best_piece_bytes(bandwidth, latency_s),
            widening=round(1 / share),
        )

    def _synchronise_s(self, exchange: Exchange, algorithm: Algorithm) -> Figure:
        """The algorithm's formula, or what its requests take at the rate that one inbox admits."""
        seconds = exchange.seconds(algorithm)
        puts_per_s, gets_per_s = self.platform.puts_per_s, self.platform.gets_per_s
        if puts_per_s:
            seconds = larger(seconds, exchange.puts(algorithm) / puts_per_s)
        if gets_per_s:
            seconds = larger(seconds, exchange.gets(algorithm) / gets_per_s)
        return seconds

    def lanes(self, first: Index, end: Index, memory_mb: int, recompute: bool) -> tuple[LaneTimes, LaneTimes]:
        """Of the forward and of the backward pass."""
        return _known(self._lanes, self._lanes_of, first, end, memory_mb, recompute)

    def _lanes_of(self, first: Index, end: Index, memory_mb: int, recompute: bool) -> tuple[LaneTimes, LaneTimes]:
        forward_s, backward_s, loss_s = self._compute_sums(memory_mb)
        down, up, at = self.platform.bandwidth(memory_mb), self.platform.upload_bandwidth(memory_mb), self._boundaries
        forward, loss = forward_s.between(first, end), loss_s.at(end)
        samples = at.inputs.at(first) + at.targets.at(end)
        again = forward + loss if recompute else 0.0
        return (
            LaneTimes(
                download=Transfer((samples + at.sent.at(first)) / down, at.get_s.at(first)),
                compute_s=forward,
                upload=Transfer(at.sent.at(end) / up, at.put_s.at(end)),
            ),
            LaneTimes(
                download=Transfer(at.returned.at(end) / down, at.get_s.at(end)),
                compute_s=backward_s.between(first, end) + loss + again,
                upload=Transfer(at.returned.at(first) / up, at.put_s.at(first)),
            ),
        )

    def summation(self, first: Index, end: Index, memory_mb: int, replicas: int, algorithm: Algorithm) -> Summation:
        """What summing the stage's gradients takes."""
        return _known(
            self._summed, self._summation_of, first, end, self.summing_bandwidth(memory_mb), replicas, algorithm
        )

    def _summation_of(
        self, first: Index, end: Index, bandwidth: float, replicas: int, algorithm: Algorithm
    ) -> Summation:
        exchange = _known(self._exchanges, self._exchange_of, first, end, bandwidth, replicas)
        passed = PassedOn(exchange.puts(algorithm), exchange.gets(algorithm), *_exchanged_bytes(exchange, algorithm))
        seconds, server_s = self._synchronise_s(exchange, algorithm), _server_s(exchange, algorithm)
        return Summation(exchange, seconds, server_s, passed)

    def passed_on(self, first: Index, end: Index) -> PassedOn:
        """What a micro-batch moves to and from the stages beside."""
        return _known(self._passed, self._boundaries.passed_on, first, end)

    def step_s(self, first: Index, end: Index, memory_mb: int) -> Figure:
        """Of the optimiser; a share of a vCPU takes longer, more than one are no help."""
        return self._steps.between(first, end) / min(1.0, self.platform.vcpus(memory_mb))

    def stage(
        self,
        first: Index,
        end: Index,
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
        first: Index,
        end: Index,
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

    def kept_bytes(self, first: Index, end: Index, recompute: bool) -> Figure:
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
