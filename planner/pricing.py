"""AWS list prices, each once, and bills made of them. No torch, no network.

Prices are us-east-1's public list prices in USD before taxes, free tier and discounts, read 2026-11-21 from
  [lambda]  aws.amazon.com/lambda/pricing
  [s3]      aws.amazon.com/s3/pricing, S3 Standard
  [sfn]     aws.amazon.com/step-functions/pricing, Standard workflows
  [ec2]     docs.aws.amazon.com/autoscaling/ec2/userguide/weights-spot-price-per-unit-hour-example.html, column
            "On-Demand pricing" (which AWS calls example pricing), read 2026-11-24
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from runtime.limits import LAMBDA_MIN_TMP_MB
from runtime.manifest import Architecture

LAMBDA_USD_PER_GB_S = {  # [lambda] first tier; a GB is 1,024 MB of configured memory
    Architecture.X86_64: 0.0000166667,
    Architecture.ARM64: 0.0000133334,
}
LAMBDA_USD_PER_REQUEST = 0.20 / 1_000_000  # [lambda]
LAMBDA_TMP_USD_PER_GB_S = 0.0000000309  # [lambda] /tmp above the 512 MB that are free
S3_USD_PER_PUT = 0.005 / 1_000  # [s3] PUT, COPY, POST, LIST
S3_USD_PER_GET = 0.0004 / 1_000  # [s3] GET, HEAD; a GET answered "no such key" is billed too. DELETE is free
STATES_USD_PER_TRANSITION = 0.025 / 1_000  # [sfn]
MB_PER_GB = 1_024


@dataclass(frozen=True)
class VirtualMachine:
    """An on-demand EC2 instance type, Linux."""

    name: str
    vcpus: int
    memory_mb: int
    bytes_per_s: float
    """Baseline of its network in each direction."""
    usd_per_hour: float


# Prices: [ec2]. vCPUs and memory: docs.aws.amazon.com/AWSEC2/latest/UserGuide/compute-optimized-instances.html, read
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


def lambda_compute(quantity_gb_s: float, architecture: Architecture) -> BillLine:
    """Execution time of functions, from ``gb_seconds``."""
    return BillLine(f"Lambda compute ({architecture.value})", quantity_gb_s, "GB-s", LAMBDA_USD_PER_GB_S[architecture])


def lambda_requests(invocations: float) -> BillLine:
    return BillLine("Lambda requests", invocations, "request", LAMBDA_USD_PER_REQUEST)


def lambda_tmp(quantity_gb_s: float) -> BillLine:
    """Ephemeral storage, from ``tmp_gb_seconds``."""
    return BillLine("Lambda /tmp above 512 MB", quantity_gb_s, "GB-s", LAMBDA_TMP_USD_PER_GB_S)


def s3_puts(requests: float) -> BillLine:
    """PUT and LIST requests of S3 Standard."""
    return BillLine("S3 PUT", requests, "request", S3_USD_PER_PUT)


def s3_gets(requests: float) -> BillLine:
    """GET requests of S3 Standard, also those that find nothing."""
    return BillLine("S3 GET", requests, "request", S3_USD_PER_GET)


def virtual_machine(machine: VirtualMachine, seconds: float) -> BillLine:
    """An instance's running time; without its disk."""
    return BillLine(f"EC2 {machine.name}", seconds / 3600, "hour", machine.usd_per_hour)


def state_transitions(transitions: float) -> BillLine:
    return BillLine("Step Functions transitions", transitions, "transition", STATES_USD_PER_TRANSITION)
