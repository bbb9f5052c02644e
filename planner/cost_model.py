"""Seconds, bytes and USD of a candidate stage and of a plan: FuncPipe's cost model (arXiv 2204.13561, section 4).

    t_iter = t_forward + max over stages i (t_backward_i + t_sync_i)
    t_forward    = Σ stages (download + compute + upload of one micro-batch) + max over stages (µ - 1)·slowest lane
    t_backward_i = the same of the backward pass over the stages i and after
    t_sync_i     = runtime.synchronisation's formula of the stage's algorithm

µ = ceil(micro-batches / replicas) differs between stages here, so it stands inside the maximum. Where all workers
share the cores of one machine (``Platform.shared_cores``), t_iter is also at least all work over those cores.

Seconds are per iteration or per micro-batch as named, bytes are of one worker, USD per iteration.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from planner.platforms import Platform
from planner.pricing import BYTES_PER_GB, gb_seconds, tmp_gb_seconds
from planner.profile_format import Profile
from runtime.limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MIN_TMP_MB
from runtime.manifest import Architecture
from runtime.pacing import IN_FLIGHT, RANGE_BYTES, range_count
from runtime.spec import EXACT_WIRE, TrainingSpec, WireSpec
from runtime.synchronisation import Algorithm, Exchange, best_piece_bytes

MIB = 1 << 20
HEAD_ROOM = 0.10
"""Share of the predicted peak that a memory size must offer on top: allocator fragmentation, interpreter garbage."""


@dataclass(frozen=True)
class Transfer:
    """One object over a worker's link; by default none."""

    link_s: float = 0.0
    """Time that it keeps the link busy."""
    latency_s: float = 0.0
    """Time that the request takes besides; ``pacing.IN_FLIGHT`` requests wait at once."""

    @property
    def whole_s(self) -> float:
        return self.link_s + self.latency_s

    @property
    def pace_s(self) -> float:
        """Time from one object to the next when many follow each other."""
        return max(self.link_s, self.whole_s / IN_FLIGHT)


@dataclass(frozen=True)
class LaneTimes:
    """One micro-batch on each lane of one worker, in one direction."""

    download: Transfer
    compute_s: float
    upload: Transfer

    @property
    def path_s(self) -> float:
        """A lone micro-batch's way through the worker."""
        return self.download.whole_s + self.compute_s + self.upload.whole_s

    @property
    def slowest_s(self) -> float:
        """Time from one micro-batch to the next at the slowest lane."""
        return max(self.download.pace_s, self.compute_s, self.upload.pace_s)


@dataclass(frozen=True)
class StageMemory:
    """Peak resident bytes of one worker, by item."""

    base: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    transfers: int
    synchronise: int
    """Flat gradients and splits on their way, as far as they exceed the activations and transfers, gone by then."""
    data: int
    checkpoint: int
    """Loading and saving layers, likewise."""

    @property
    def total(self) -> int:
        return sum(vars(self).values())

    @property
    def predicted_mb(self) -> float:
        return self.total / MIB

    @property
    def needed_mb(self) -> float:
        """Memory size that the stage fits into: the predicted peak and the head-room."""
        return self.predicted_mb * (1 + HEAD_ROOM)


@dataclass(frozen=True)
class StageCosts:
    """Layers ``first`` to ``end - 1`` at ``memory_mb`` on ``replicas`` workers, each with up to ``micro_batches``."""

    first: int
    end: int
    memory_mb: int
    replicas: int
    algorithm: Algorithm
    piece_bytes: int
    micro_batches: int
    forward: LaneTimes
    backward: LaneTimes
    synchronise_s: float
    synchronise_server_s: float
    """What one replica's part in the summation takes of a server that serves one request at a time."""
    step_s: float
    puts: int
    """Requests of all replicas per iteration; without GETs that find nothing yet."""
    gets: int
    work_s: float
    """Core-seconds per iteration of all replicas and lanes, for platforms with shared cores."""
    recompute: bool = False
    """Whether backward begins with the forward pass once more, which its seconds then hold."""
    ephemeral_storage_mb: int = LAMBDA_MIN_TMP_MB
    tmp_worth_gb: float = 0.0
    """Of memory, that cost as much as what a worker has of /tmp above the part that is free."""
    bytes_up: int = 0
    """Of all replicas per iteration, as ``puts`` and ``gets``."""
    bytes_down: int = 0
    request_usd: float = 0.0
    """Per iteration: of those requests, and of their bytes where storage bills these."""
    exchange: Exchange | None = field(default=None, compare=False, repr=False)
    """What is summed over the replicas, and on which links."""

    @property
    def forward_queue_s(self) -> float:
        """Time that the micro-batches after the first one add when this stage is the bottleneck."""
        return (self.micro_batches - 1) * self.forward.slowest_s

    @property
    def backward_queue_s(self) -> float:
        return (self.micro_batches - 1) * self.backward.slowest_s

    @property
    def closing_s(self) -> float:
        """From the last backward to the next iteration: averaging and step."""
        return self.synchronise_s + self.step_s

    @property
    def memory_gb(self) -> float:
        """Of all replicas."""
        return self.replicas * gb_seconds(self.memory_mb, 1.0)

    @property
    def total_gb(self) -> float:
        """What all replicas are billed for by the second: their memory, and /tmp as its worth in memory."""
        return self.memory_gb + self.replicas * self.tmp_worth_gb


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
        self._compute: dict[int, tuple[list[float], list[float], float]] = {}

    @property
    def layer_count(self) -> int:
        return len(self.profile.layers)

    @cached_property
    def _sums(self) -> dict[str, list[int]]:
        """Prefix sums over the layers, by field."""
        names = ("activation_bytes", "parameter_bytes", "trainable_parameter_bytes", "buffer_bytes")
        return {name: [0, *accumulate(getattr(layer, name) for layer in self.profile.layers)] for name in names}

    def _sum(self, name: str, first: int, end: int) -> int:
        return self._sums[name][end] - self._sums[name][first]

    def micro_batches_per_replica(self, replicas: int) -> int:
        return -(-self.micro_batches // replicas)

    def boundary_bytes(self, boundary: int) -> int:
        """Bytes of one micro-batch that enter layer ``boundary``."""
        return self.profile.input_bytes if boundary == 0 else self.profile.layers[boundary - 1].output_bytes

    def activation_bytes(self, boundary: int) -> int:
        """On the wire, bytes of one micro-batch that enter layer ``boundary`` from another stage.

        All are counted as floating-point: the profile does not tell what part of a layer's output is not.
        """
        return round(self.boundary_bytes(boundary) * self.wire.activations.share(self.training.dtype))

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

    def exchange(self, first: int, end: int, memory_mb: int, replicas: int) -> Exchange:
        """The summation of a candidate stage's gradients over its replicas."""
        bandwidth = min(self.platform.bandwidth(memory_mb), self.platform.upload_bandwidth(memory_mb))
        latency_s = (self.platform.get_latency_s + self.platform.put_latency_s) / 2
        share = self.wire.gradients.share(self.training.dtype)
        return Exchange(
            gradient_bytes=round(self._sum("trainable_parameter_bytes", first, end) * share),
            replicas=replicas,
            bandwidth=bandwidth,
            latency_s=latency_s,
            piece_bytes=best_piece_bytes(bandwidth, latency_s),
            widening=1 / share,
        )

    def _synchronise_s(self, exchange: Exchange, algorithm: Algorithm) -> float:
        """The algorithm's formula, or what its requests take at the rate that one inbox admits."""
        puts_per_s, gets_per_s = self.platform.puts_per_s, self.platform.gets_per_s
        return max(
            exchange.seconds(algorithm),
            exchange.puts(algorithm) / puts_per_s if puts_per_s else 0.0,
            exchange.gets(algorithm) / gets_per_s if gets_per_s else 0.0,
        )

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
        exchange = self.exchange(first, end, memory_mb, replicas)
        synchronise = self._synchronise_s(exchange, algorithm)
        step = sum(layer.step_s for layer in self.profile.layers[first:end]) / min(1.0, self.platform.vcpus(memory_mb))
        sent, got = [], []
        if not opens:
            got.append(received)
            sent.append(self.returned_bytes(first))
        if not closes:
            got.append(self.returned_bytes(end))
            sent.append(self.activation_bytes(end))
        puts = self.micro_batches * sum(map(range_count, sent)) + exchange.puts(algorithm)
        gets = self.micro_batches * sum(map(range_count, got)) + exchange.gets(algorithm)
        summed_up, summed_down = _exchanged_bytes(exchange, algorithm)
        bytes_up = self.micro_batches * sum(sent) + summed_up
        bytes_down = self.micro_batches * sum(got) + summed_down
        prices = self.platform.storage_prices
        return StageCosts(
            first=first,
            end=end,
            memory_mb=memory_mb,
            replicas=replicas,
            algorithm=algorithm,
            piece_bytes=exchange.piece_bytes,
            micro_batches=self.micro_batches_per_replica(replicas),
            forward=forward_lanes,
            backward=backward_lanes,
            synchronise_s=synchronise,
            synchronise_server_s=_server_s(exchange, algorithm),
            step_s=step,
            puts=puts,
            gets=gets,
            work_s=self.micro_batches * (forward_lanes.path_s + backward_lanes.path_s)
            + replicas * (synchronise + step),
            bytes_up=bytes_up,
            bytes_down=bytes_down,
            request_usd=puts * prices.usd_per_put
            + gets * prices.usd_per_get
            + (bytes_up * prices.usd_per_gb_up + bytes_down * prices.usd_per_gb_down) / BYTES_PER_GB,
            recompute=recompute,
            exchange=exchange,
            ephemeral_storage_mb=self.ephemeral_storage_mb,
            tmp_worth_gb=self.tmp_worth_gb(self.ephemeral_storage_mb),
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
        profile, layers = self.profile, self.profile.layers[first:end]
        opens, closes = first == 0, end == self.layer_count
        micro_batches = self.micro_batches_per_replica(replicas)
        trainable = self._sum("trainable_parameter_bytes", first, end)
        weights = self._sum("parameter_bytes", first, end) + self._sum("buffer_bytes", first, end)
        copies = self.training.optimizer.state_copies

        one = self._sum("activation_bytes", first, end) + (0 if opens else layers[0].shared_input_bytes)
        if closes:
            one += profile.loss_profile.activation_bytes + profile.target_bytes
        elif not layers[-1].output_kept:
            one += layers[-1].output_bytes
        # While one layer runs, its input and output (or their gradients) are there besides what is kept.
        widest = max(self.boundary_bytes(at) + self.boundary_bytes(at + 1) for at in range(first, end))

        in_flight = min(IN_FLIGHT, micro_batches)
        entering = 0 if opens else self.boundary_bytes(first)
        leaving = 0 if closes else layers[-1].output_bytes
        caught = 0 if opens else profile.layers[first - 1].gradient_bytes
        returned = 0 if closes else layers[-1].gradient_bytes
        # An object on its way down is there twice (bytes, tensors); one on its way up as bytes, and a gradient also
        # as a tensor that nothing else keeps. Narrowed, it is less as bytes.
        share = self.wire.activations.share(self.training.dtype)
        if kept is None:
            forward, backward = (1 + share) * entering + share * leaving, (1 + share) * (returned + caught)
            transfers = round(in_flight * max(forward, backward))
        else:
            down, up = (1 + share) * max(entering, returned), max(share * leaving, (1 + share) * caught)
            transfers = round(in_flight * (down + up))
        if share * max(entering, returned) > RANGE_BYTES:
            transfers += IN_FLIGHT * RANGE_BYTES  # ranges that are being joined

        activations = (micro_batches if kept is None else kept) * one
        if recompute:
            # One micro-batch is being computed, at first on a copy of its input, beside the inputs of all.
            inputs = self.boundary_bytes(first) + (profile.target_bytes if closes else 0)
            activations = one + inputs * (1 + (micro_batches if kept is None else kept))
            weights += self._sum("buffer_bytes", first, end)
        activations += widest
        training = activations + transfers
        # Pieces are largest where the link is fastest.
        held = self.exchange(first, end, LAMBDA_MAX_MEMORY_MB, replicas).held_bytes(algorithm)
        synchronise = max(0, held - training)
        saved = 2 * max(
            layer.parameter_bytes + layer.buffer_bytes + copies * layer.trainable_parameter_bytes for layer in layers
        )
        if profile.builds_whole_model:
            every = self.layer_count
            whole = self._sum("parameter_bytes", 0, every) + self._sum("buffer_bytes", 0, every)
            saved = max(saved, whole - weights)
        return StageMemory(
            base=profile.base_bytes,
            weights=weights,
            gradients=trainable,
            optimizer=copies * trainable,
            activations=activations,
            transfers=transfers,
            synchronise=synchronise,
            data=profile.data_bytes * (opens + closes),
            checkpoint=max(0, saved - training - synchronise),
        )

    def iteration_s(self, stages: Sequence[StageCosts]) -> float:
        """The closed form of the module docstring: seconds per iteration of a plan."""
        forward = sum(stage.forward.path_s for stage in stages) + max(stage.forward_queue_s for stage in stages)
        longest = path = queue = 0.0
        for stage in reversed(stages):
            path += stage.backward.path_s
            queue = max(queue, stage.backward_queue_s)
            longest = max(longest, path + queue + stage.closing_s)
        return max(forward + longest, self.work_bound_s(stages))

    def work_bound_s(self, stages: Sequence[StageCosts]) -> float:
        """Seconds per iteration that shared cores need at least; 0 where workers have cores of their own."""
        if not self.platform.shared_cores:
            return 0.0
        return sum(stage.work_s for stage in stages) / self.profile.host_cores

    def usd(self, stages: Sequence[StageCosts], iteration_s: float) -> float:
        """USD per iteration: functions' GB-seconds and requests to storage."""
        compute = self.usd_per_gb_s * sum(stage.total_gb for stage in stages) * iteration_s
        return compute + sum(stage.request_usd for stage in stages)
