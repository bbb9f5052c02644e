"""What a worker gets for its memory size, by platform: link bandwidth, request latency, vCPUs. Data, no torch.

``aws-lambda``         bandwidth is flat, whatever the memory (arXiv 2501.07771: about 75 MiB/s sustained, up and down
                       separately, after a burst that a training run soon uses up)
``aws-lambda-scaled``  the raised network quota announced 2026-08-05 for functions outside a VPC: 625 Mbit/s at 2 GB to
                       3,000 Mbit/s at 10 GB; as ``aws-lambda`` below 2 GB
``embedded``           the emulator on the machine that profiled: memory buys no vCPU; all workers, and the emulator
                       that copies their objects one at a time, share the machine's cores

A profiled core counts as one vCPU: nothing was measured on Lambda, whose vCPU is half a physical core.
"""

from bisect import bisect_right
from dataclasses import dataclass

from runtime.errors import UserInputError
from runtime.limits import LAMBDA_MEMORY_PER_VCPU_MB, S3_GETS_PER_S, S3_PUTS_PER_S

MIB = 1 << 20
MBIT = 1_000_000 / 8


@dataclass(frozen=True)
class Platform:
    """One platform. Latencies are those of a small request, without its transfer."""

    name: str
    bandwidth_points: tuple[tuple[float, float], ...]
    """(memory in MB, bytes/s in each direction), ascending; linear between, constant outside."""
    get_latency_s: float
    put_latency_s: float
    start_up_s: float
    """From the workflow's start of a gang to its first instruction: environment, imports, layers loaded."""
    memory_per_vcpu_mb: float | None
    """None: a worker has one core at every memory size."""
    max_vcpus: float
    shared_cores: bool
    """Whether all workers' lanes share the cores of the machine that was profiled."""
    serial_requests: bool = False
    """Whether one server takes the requests of all workers, one at a time."""
    puts_per_s: float | None = None
    """Writes that one inbox admits in a second; None is any number."""
    gets_per_s: float | None = None
    ramp: bool = False
    """Whether a function's environments start at Lambda's scaling rate (``runtime.limits``)."""

    def bandwidth(self, memory_mb: float) -> float:
        """Bytes/s of each direction of a worker's link."""
        points = self.bandwidth_points
        at = bisect_right([memory for memory, _ in points], memory_mb)
        if at == 0:
            return points[0][1]
        if at == len(points):
            return points[-1][1]
        (low, slow), (high, fast) = points[at - 1], points[at]
        return slow + (fast - slow) * (memory_mb - low) / (high - low)

    def vcpus(self, memory_mb: float) -> float:
        """Cores' worth of time that a worker gets."""
        if self.memory_per_vcpu_mb is None:
            return 1.0
        return min(memory_mb / self.memory_per_vcpu_mb, self.max_vcpus)


S3_GET_LATENCY_S = 0.027
"""Median of 1 KB from S3 Standard, 2026-11-21; the tail is long."""
S3_PUT_LATENCY_S = 0.040
"""As above, of a write."""
LAMBDA_VCPUS = 10_240 / LAMBDA_MEMORY_PER_VCPU_MB
"""About 5.8 vCPUs' share of time at the largest size, though 6 are visible."""
LAMBDA_START_UP_S = 15.0
"""Assumed, not measured: cold start of an image with torch, imports, first layers. Lambda allows an init of 10 s."""

_FLAT = 75 * MIB

PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            name="aws-lambda",
            bandwidth_points=((0, _FLAT),),
            get_latency_s=S3_GET_LATENCY_S,
            put_latency_s=S3_PUT_LATENCY_S,
            start_up_s=LAMBDA_START_UP_S,
            memory_per_vcpu_mb=LAMBDA_MEMORY_PER_VCPU_MB,
            max_vcpus=LAMBDA_VCPUS,
            shared_cores=False,
            puts_per_s=S3_PUTS_PER_S,
            gets_per_s=S3_GETS_PER_S,
            ramp=True,
        ),
        Platform(
            name="aws-lambda-scaled",
            bandwidth_points=((2_047, _FLAT), (2_048, 625 * MBIT), (10_240, 3_000 * MBIT)),
            get_latency_s=S3_GET_LATENCY_S,
            put_latency_s=S3_PUT_LATENCY_S,
            start_up_s=LAMBDA_START_UP_S,
            memory_per_vcpu_mb=LAMBDA_MEMORY_PER_VCPU_MB,
            max_vcpus=LAMBDA_VCPUS,
            shared_cores=False,
            puts_per_s=S3_PUTS_PER_S,
            gets_per_s=S3_GETS_PER_S,
            ramp=True,
        ),
        Platform(
            name="embedded",  # MiniStack 1.5.33 on 2 cores, 2026-11-22: 16 MB at 184 MB/s up; a lone request of 16 KB
            bandwidth_points=((0, 184e6),),
            get_latency_s=0.0028,
            put_latency_s=0.0026,
            start_up_s=10.0,
            memory_per_vcpu_mb=None,
            max_vcpus=1.0,
            shared_cores=True,
            serial_requests=True,
        ),
    )
}


def find_platform(name: str) -> Platform:
    """The platform of that name. Raises UserInputError when there is none."""
    try:
        return PLATFORMS[name]
    except KeyError:
        raise UserInputError(f"there is no platform {name!r}. Choose one of: {', '.join(PLATFORMS)}.") from None
