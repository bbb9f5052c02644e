"""Seconds, requests and USD of one stage of a plan, or of many at once: then their figures are columns of numbers.

Seconds are per iteration or per micro-batch as named, USD per iteration of all replicas.
"""

from dataclasses import dataclass, field
from functools import cached_property

from planner.layer_sums import Figure, Index
from planner.pricing import gb_seconds
from runtime.limits import LAMBDA_MIN_TMP_MB
from runtime.pacing import IN_FLIGHT
from runtime.synchronisation import Algorithm, Exchange, larger


@dataclass(frozen=True)
class Transfer:
    """One object over a worker's link; by default none."""

    link_s: Figure = 0.0
    """Time that it keeps the link busy."""
    latency_s: Figure = 0.0
    """Time that the request takes besides; ``pacing.IN_FLIGHT`` requests wait at once."""

    @property
    def whole_s(self) -> Figure:
        return self.link_s + self.latency_s

    @property
    def pace_s(self) -> Figure:
        """Time from one object to the next when many follow each other."""
        return larger(self.link_s, self.whole_s / IN_FLIGHT)


@dataclass(frozen=True)
class LaneTimes:
    """One micro-batch on each lane of one worker, in one direction."""

    download: Transfer
    compute_s: Figure
    upload: Transfer

    @cached_property
    def path_s(self) -> Figure:
        """A lone micro-batch's way through the worker."""
        return self.download.whole_s + self.compute_s + self.upload.whole_s

    @cached_property
    def slowest_s(self) -> Figure:
        """Time from one micro-batch to the next at the slowest lane."""
        return larger(larger(self.download.pace_s, self.compute_s), self.upload.pace_s)


@dataclass(frozen=True)
class StageCosts:
    """Layers ``first`` to ``end - 1`` at ``memory_mb`` on ``replicas`` workers, each with up to ``micro_batches``."""

    first: Index
    end: Index
    memory_mb: int
    replicas: int
    algorithm: Algorithm
    piece_bytes: int
    micro_batches: int
    forward: LaneTimes
    backward: LaneTimes
    synchronise_s: Figure
    synchronise_server_s: Figure
    """What one replica's part in the summation takes of a server that serves one request at a time."""
    step_s: Figure
    puts: Figure
    """Requests of all replicas per iteration; without GETs that find nothing yet."""
    gets: Figure
    work_s: Figure
    """Core-seconds per iteration of all replicas and lanes, for platforms with shared cores."""
    recompute: bool = False
    """Whether backward begins with the forward pass once more, which its seconds then hold."""
    ephemeral_storage_mb: int = LAMBDA_MIN_TMP_MB
    tmp_worth_gb: float = 0.0
    """Of memory, that cost as much as what a worker has of /tmp above the part that is free."""
    bytes_up: Figure = 0
    """Of all replicas per iteration, as ``puts`` and ``gets``."""
    bytes_down: Figure = 0
    request_usd: Figure = 0.0
    """Per iteration: of those requests, and of their bytes where storage bills these."""
    exchange: Exchange | None = field(default=None, compare=False, repr=False)
    """What is summed over the replicas, and on which links."""

    @property
    def forward_queue_s(self) -> Figure:
        """Time that the micro-batches after the first one add when this stage is the bottleneck."""
        return (self.micro_batches - 1) * self.forward.slowest_s

    @property
    def backward_queue_s(self) -> Figure:
        return (self.micro_batches - 1) * self.backward.slowest_s

    @property
    def closing_s(self) -> Figure:
        """From the last backward to the next iteration: averaging and step."""
        return self.synchronise_s + self.step_s

    @property
    def inner_s(self) -> Figure:
        """From the beginning of a micro-batch's forward to the end of its backward pass, without the stages behind."""
        forward, backward = self.forward, self.backward
        sent_s = forward.upload.whole_s + backward.download.whole_s
        return forward.compute_s + sent_s + backward.compute_s

    @property
    def outer_s(self) -> Figure:
        """What comes before and after that: from and to the stage before."""
        return self.forward.download.whole_s + self.backward.upload.whole_s

    @property
    def memory_gb(self) -> float:
        """Of all replicas."""
        return self.replicas * gb_seconds(self.memory_mb, 1.0)

    @property
    def total_gb(self) -> float:
        """What all replicas are billed for by the second: their memory, and /tmp as its worth in memory."""
        return self.memory_gb + self.replicas * self.tmp_worth_gb
