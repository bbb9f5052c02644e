"""Bills made of AWS list prices, and what EC2 instances cost. No torch, no network.

EC2 prices are us-east-1's, on demand, Linux, in USD before taxes and discounts, from
  docs.aws.amazon.com/autoscaling/ec2/userguide/weights-spot-price-per-unit-hour-example.html, column "On-Demand
  pricing" (which AWS calls example pricing), read 2026-11-24
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from runtime.limits import LAMBDA_MIN_TMP_MB
from runtime.manifest import Architecture
from runtime.prices import ListPrices, Prices

MB_PER_GB = 1_024
BYTES_PER_GB = 2**30
"""By which S3 and CloudWatch bill."""
SECONDS_PER_MONTH = 30 * 86_400
"""By which storage is told here; AWS bills by the hours of the month in question."""


@dataclass(frozen=True)
class VirtualMachine:
    """An on-demand EC2 instance type, Linux."""

    name: str
    vcpus: int
    memory_mb: int
    bytes_per_s: float
    """Baseline of its network in each direction."""
    usd_per_hour: float


# vCPUs and memory: docs.aws.amazon.com/AWSEC2/latest/UserGuide/compute-optimized-instances.html, read
# 2026-11-24. Network, of 10^9 bits: what DescribeInstanceTypes says of the largest; of the others, which it calls
# "up to 10 Gigabit", a quarter and half of that as the part that lasts: not checked against a page of AWS.
VIRTUAL_MACHINES = (
    VirtualMachine("c5.2xlarge", 8, 16 * MB_PER_GB, 2.5e9 / 8, 0.34),
    VirtualMachine("c5.4xlarge", 16, 32 * MB_PER_GB, 5e9 / 8, 0.68),
    VirtualMachine("c5.12xlarge", 48, 96 * MB_PER_GB, 12e9 / 8, 2.04),
)


@dataclass(frozen=True)
class BillLine:
    """One item: ``quantity`` units at ``unit_usd`` each."""

    item: str
    quantity: float
    unit: str
    unit_usd: float

    @property
    def usd(self) -> float:
        return self.quantity * self.unit_usd


@dataclass(frozen=True)
class Bill:
    """Items in the order given; the total is their sum."""

    lines: tuple[BillLine, ...]

    @property
    def total_usd(self) -> float:
        return sum(line.usd for line in self.lines)

    def to_dict(self) -> dict[str, object]:
        """JSON-ready: ``{"lines": [{item, quantity, unit, unit_usd, usd}], "total_usd"}``."""
        return {"lines": [{**asdict(line), "usd": line.usd} for line in self.lines], "total_usd": self.total_usd}


def bill(lines: Iterable[BillLine]) -> Bill:
    """A bill of the lines that are not zero."""
    return Bill(tuple(line for line in lines if line.quantity))


def gb_seconds(memory_mb: float, seconds: float) -> float:
    """What Lambda bills for a function of ``memory_mb`` MB that runs ``seconds`` s: GB-s."""
    return memory_mb / MB_PER_GB * seconds


def tmp_gb_seconds(ephemeral_storage_mb: float, seconds: float) -> float:
    """GB-s of /tmp that are billed: what exceeds the free 512 MB."""
    return max(0.0, ephemeral_storage_mb - LAMBDA_MIN_TMP_MB) / MB_PER_GB * seconds


def gb_months(bytes_held: float, seconds: float) -> float:
    """What storage bills for ``bytes_held`` that lie there for ``seconds``."""
    return bytes_held / BYTES_PER_GB * seconds / SECONDS_PER_MONTH


def lambda_compute(quantity_gb_s: float, architecture: Architecture, usd_per_gb_s: float) -> BillLine:
    """Execution time of functions, from ``gb_seconds``."""
    return BillLine(f"Lambda compute ({architecture.value})", quantity_gb_s, "GB-s", usd_per_gb_s)


def lambda_init(quantity_gb_s: float, architecture: Architecture, usd_per_gb_s: float) -> BillLine:
    """Start-up of environments, billed like execution since 2025-08-01."""
    return BillLine(f"Lambda init ({architecture.value})", quantity_gb_s, "GB-s", usd_per_gb_s)


def lambda_requests(invocations: float, usd_per_request: float) -> BillLine:
    return BillLine("Lambda requests", invocations, "request", usd_per_request)


def lambda_tmp(quantity_gb_s: float, usd_per_gb_s: float) -> BillLine:
    """Ephemeral storage, from ``tmp_gb_seconds``."""
    return BillLine("Lambda /tmp above 512 MB", quantity_gb_s, "GB-s", usd_per_gb_s)


def s3_puts(requests: float, usd_per_put: float) -> BillLine:
    return BillLine("S3 PUT", requests, "request", usd_per_put)


def s3_lists(requests: float, usd_per_put: float) -> BillLine:
    """LIST requests, which are priced like PUT."""
    return BillLine("S3 LIST", requests, "request", usd_per_put)


def s3_gets(requests: float, usd_per_get: float) -> BillLine:
    """GET requests that found an object."""
    return BillLine("S3 GET", requests, "request", usd_per_get)


def s3_empty_gets(requests: float, usd_per_get: float) -> BillLine:
    """GET requests of objects that were not there yet: polling, billed like any GET."""
    return BillLine("S3 GET, nothing there yet", requests, "request", usd_per_get)


def s3_bytes(bytes_up: float, bytes_down: float, usd_per_gb_up: float, usd_per_gb_down: float) -> list[BillLine]:
    """What a storage class bills by the byte; nothing of S3 Standard from the same region."""
    lines = []
    for item, count, price in (
        ("S3 upload", bytes_up, usd_per_gb_up),
        ("S3 retrieval", bytes_down, usd_per_gb_down),
    ):
        if price:
            lines.append(BillLine(item, count / BYTES_PER_GB, "GB", price))
    return lines


def s3_storage(quantity_gb_months: float, usd_per_gb_month: float) -> BillLine:
    """The artifact bucket's objects while a run lasts, from ``gb_months``."""
    return BillLine("S3 storage", quantity_gb_months, "GB-month", usd_per_gb_month)


def s3_deleted(quantity_gb_months: float, usd_per_gb_month: float) -> BillLine:
    """Checkpoints that a run has deleted, as the old versions that the artifact bucket keeps of them for some days."""
    return BillLine("S3 storage, deleted checkpoints", quantity_gb_months, "GB-month", usd_per_gb_month)


def virtual_machine(machine: VirtualMachine, seconds: float) -> BillLine:
    """An instance's running time; without its disk."""
    return BillLine(f"EC2 {machine.name}", seconds / 3600, "hour", machine.usd_per_hour)


def state_transitions(transitions: float, usd_per_transition: float) -> BillLine:
    return BillLine("Step Functions transitions", transitions, "transition", usd_per_transition)


def logs(bytes_taken_in: float, usd_per_gb: float) -> BillLine:
    """What functions write to CloudWatch Logs."""
    return BillLine("CloudWatch Logs", bytes_taken_in / BYTES_PER_GB, "GB", usd_per_gb)


@dataclass(frozen=True)
class Used:
    """What a run, or a part of one, takes of AWS: of all workers, before it or after it."""

    compute_gb_s: float = 0.0
    init_gb_s: float = 0.0
    tmp_gb_s: float = 0.0
    invocations: float = 0.0
    puts: float = 0.0
    lists: float = 0.0
    gets: float = 0.0
    """Those that found an object."""
    empty_gets: float = 0.0
    bytes_up: float = 0.0
    bytes_down: float = 0.0
    """Of the inboxes."""
    stored_gb_months: float = 0.0
    deleted_gb_months: float = 0.0
    """Of the artifact bucket."""
    transitions: float = 0.0
    log_bytes: float = 0.0

    def bill(self, architecture: Architecture, own: Prices, listed: ListPrices) -> Bill:
        """Every bill has these items in this order, so that one before a run can be laid on one after it."""
        return bill(
            [
                lambda_compute(self.compute_gb_s, architecture, own.usd_per_gb_s),
                lambda_init(self.init_gb_s, architecture, own.usd_per_gb_s),
                lambda_tmp(self.tmp_gb_s, own.usd_per_tmp_gb_s),
                lambda_requests(self.invocations, listed.usd_per_request),
                s3_puts(self.puts, own.usd_per_put),
                s3_lists(self.lists, own.usd_per_put),
                s3_gets(self.gets, own.usd_per_get),
                s3_empty_gets(self.empty_gets, own.usd_per_get),
                *s3_bytes(self.bytes_up, self.bytes_down, listed.usd_per_gb_up, listed.usd_per_gb_down),
                s3_storage(self.stored_gb_months, listed.usd_per_gb_month),
                s3_deleted(self.deleted_gb_months, listed.usd_per_gb_month),
                state_transitions(self.transitions, listed.usd_per_transition),
                logs(self.log_bytes, listed.usd_per_gb_logged),
            ]
        )
