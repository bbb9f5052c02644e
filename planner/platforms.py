"""What a worker gets for its memory size, by platform: link bandwidth, request latency, vCPUs, prices. No torch.

Platforms are files (docs/platform.md): those in ``planner/platform_files`` by name, any other by its path. A profiled
core counts as one vCPU, unless functions of several memory sizes measured the profile.
"""

from dataclasses import dataclass, field
from pathlib import Path

from planner.graph import NO_DELAYS, ByRest, Delays
from planner.platform_format import BurstSpec, PlatformSpec, load_platform
from planner.points import between
from planner.price_list import PriceList, StoragePrices, price_list
from runtime.errors import UserInputError
from runtime.limits import LAMBDA_MAX_MEMORY_MB

FOLDER = Path(__file__).parent / "platform_files"


@dataclass(frozen=True)
class Platform:
    """One platform. Latencies are those of a small request, without its transfer."""

    name: str
    bandwidth_points: tuple[tuple[float, float], ...]
    """(memory in MB, bytes/s down), ascending; linear between, constant outside."""
    get_latency_s: float
    put_latency_s: float
    start_up_s: float
    """From the workflow's start of a gang to its first instruction: environment, imports, layers loaded."""
    memory_per_vcpu_mb: float | None
    """None: a worker has one core at every memory size."""
    max_vcpus: float
    shared_cores: bool
    """Whether all workers' lanes share the cores of the machine that was profiled."""
    timed_links: bool = False
    """Whether transfers wait for links rather than copy, so that they take none of the cores that are shared."""
    delays: Delays = NO_DELAYS
    """What the machine of all workers adds to what they do, where links are timed."""
    worker_bytes: float | None = None
    """Resident memory of a worker that holds nothing; None: the profile's figure."""
    serial_requests: bool = False
    """Whether one server takes the requests of all workers, one at a time."""
    puts_per_s: float | None = None
    """Writes that one inbox admits in a second; None is any number."""
    gets_per_s: float | None = None
    ramp: bool = False
    """Whether a function's environments start at Lambda's scaling rate (``runtime.limits``)."""
    upload_points: tuple[tuple[float, float], ...] | None = None
    """As ``bandwidth_points``, of uploads; None where both are alike."""
    burst: BurstSpec | None = None
    """What a fresh environment's link gives at first."""
    prices: PriceList = field(default_factory=price_list)
    storage: str = "standard"
    """S3's class of the inboxes: "standard" or "express"."""
    warning: str | None = None
    """What to tell with every plan for it."""

    def bandwidth(self, memory_mb: float) -> float:
        """Bytes/s of a worker's downloads, and of its uploads where nothing else is said."""
        return between(self.bandwidth_points, memory_mb)

    def upload_bandwidth(self, memory_mb: float) -> float:
        """Bytes/s of a worker's uploads."""
        return between(self.upload_points or self.bandwidth_points, memory_mb)

    def first_download_s(self, size: float, memory_mb: float) -> float:
        """Seconds in which a fresh environment fetches ``size`` bytes: first out of the burst, then at what lasts."""
        lasting = self.bandwidth(memory_mb)
        if self.burst is None:
            return size / lasting
        quick = min(size, self.burst.bytes)
        return quick / self.burst.bytes_per_s + (size - quick) / lasting

    def vcpus(self, memory_mb: float) -> float:
        """Cores' worth of time that a worker gets."""
        if self.memory_per_vcpu_mb is None:
            return 1.0
        return min(memory_mb / self.memory_per_vcpu_mb, self.max_vcpus)

    @property
    def storage_prices(self) -> StoragePrices:
        """Of the inboxes."""
        if self.storage == "express":
            assert self.prices.express is not None, "a platform file that says express has its prices"
            return self.prices.express
        return self.prices.standard


def _by_rest(added: float | list[tuple[float, float]]) -> ByRest:
    """A number is added after every rest; 0 is nothing."""
    if isinstance(added, list):
        return tuple(added)
    return ((0.0, added),) if added else ()


def platform_of(spec: PlatformSpec) -> Platform:
    """The platform that a file describes."""
    links, requests, compute = spec.links, spec.requests, spec.compute
    per_vcpu = compute.memory_per_vcpu_mb
    most = 1.0 if per_vcpu is None else LAMBDA_MAX_MEMORY_MB / per_vcpu
    return Platform(
        name=spec.name,
        bandwidth_points=tuple(links.download),
        get_latency_s=requests.get_latency_s,
        put_latency_s=requests.put_latency_s,
        start_up_s=spec.start_up.seconds,
        memory_per_vcpu_mb=per_vcpu,
        max_vcpus=compute.max_vcpus or most,
        shared_cores=compute.shared_cores,
        timed_links=spec.machine is not None,
        delays=NO_DELAYS
        if spec.machine is None
        else Delays(_by_rest(spec.machine.instruction_s), _by_rest(spec.machine.object_s)),
        worker_bytes=None if spec.machine is None else spec.machine.worker_bytes,
        serial_requests=requests.serial,
        puts_per_s=requests.puts_per_s,
        gets_per_s=requests.gets_per_s,
        ramp=spec.start_up.ramp,
        upload_points=None if links.upload is None else tuple(links.upload),
        burst=links.burst,
        prices=spec.prices,
        storage=spec.storage,
        warning=spec.warning,
    )


PLATFORMS = {path.stem: platform_of(load_platform(path)) for path in sorted(FOLDER.glob("*.json"))}


def find_platform(name: str) -> Platform:
    """The platform of that name, or of the file at that path.

    Raises:
        UserInputError: there is none of that name, or the file cannot be used.
    """
    if name in PLATFORMS:
        return PLATFORMS[name]
    if name.endswith(".json") or "/" in name or Path(name).is_file():
        return platform_of(load_platform(Path(name)))
    raise UserInputError(
        f"there is no platform {name!r}. Choose one of: {', '.join(PLATFORMS)}, or name a platform file, which "
        "`funcpipe calibrate` writes."
    )
