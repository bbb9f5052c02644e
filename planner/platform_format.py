"""Platform files: what a worker gets for its memory size, as JSON (docs/platform.md), validated whole. No torch.

A number may be the name of a limit in ``runtime/limits.py``, so that AWS's limits stand there only.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from planner.price_list import DEFAULT_REGION, PriceList, Sourced, price_list, regions
from runtime import limits
from runtime.documents import describe_errors
from runtime.errors import UserInputError
from runtime.limits import LAMBDA_MAX_MEMORY_MB
from runtime.spec import Positive, Strict

PLATFORM_VERSION = 1
MAX_BANDWIDTH = 1e12
"""Bytes/s; what is above is no link but a slip."""
MAX_SECONDS = 3_600.0

Point = tuple[
    Annotated[float, Field(ge=0, le=LAMBDA_MAX_MEMORY_MB, allow_inf_nan=False)],
    Annotated[float, Field(gt=0, le=MAX_BANDWIDTH, allow_inf_nan=False)],
]
Points = Annotated[list[Point], Field(min_length=1, max_length=1_000)]
Latency = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
ByRest = Annotated[list[tuple[Latency, Latency]], Field(min_length=1, max_length=100)]


class BurstSpec(Strict):
    """What a fresh environment's link gives at first, in each direction."""

    bytes: Positive
    bytes_per_s: Annotated[float, Field(gt=0, le=MAX_BANDWIDTH, allow_inf_nan=False)]


class LinkSpec(Sourced):
    """(memory in MB, bytes/s) of a worker's link: linear between points, constant outside."""

    download: Points
    upload: Points | None = Field(None, description="null: as download")
    burst: BurstSpec | None = None

    @model_validator(mode="after")
    def _more_memory_is_no_slower(self) -> "LinkSpec":
        for name, points in (("download", self.download), ("upload", self.upload or [])):
            for (low, slow), (high, fast) in pairwise(points):
                if high <= low:
                    raise ValueError(f"{name}: memory sizes must ascend ({low:g} MB, then {high:g} MB)")
                if fast < slow:
                    raise ValueError(
                        f"{name}: bandwidth must not fall with memory, as plans take more of it to be no slower "
                        f"({slow:g} bytes/s at {low:g} MB, {fast:g} bytes/s at {high:g} MB)"
                    )
        lasting = max(bandwidth for _, bandwidth in [*self.download, *(self.upload or [])])
        if self.burst is not None and self.burst.bytes_per_s < lasting:
            raise ValueError(
                f"burst.bytes_per_s must not be below what lasts (burst: {self.burst.bytes_per_s:g}, "
                f"lasting: {lasting:g})"
            )
        return self


class RequestSpec(Sourced):
    """Of a small request, without its transfer."""

    get_latency_s: Latency
    put_latency_s: Latency
    gets_per_s: Positive | None = Field(None, description="that one inbox admits; null: any number")
    puts_per_s: Positive | None = Field(None, description="likewise")
    serial: bool = Field(False, description="whether one server takes all workers' requests, one at a time")


class ComputeSpec(Sourced):
    """vCPUs by memory."""

    memory_per_vcpu_mb: Positive | None = Field(description="null: one core at every memory size")
    max_vcpus: Positive | None = Field(None, description="null: those of the largest memory size")
    shared_cores: bool = Field(False, description="whether all workers share the cores of the machine that profiled")


class MachineSpec(Sourced):
    """Of one machine that all workers run on, where their links are slowed down: transfers wait and take no core.

    What it adds is a number of seconds, or (seconds of rest, seconds that are then added): linear between, constant
    outside.
    """

    instruction_s: Latency | ByRest = Field(description="to a computation, by how long the worker computed nothing")
    object_s: Latency | ByRest = Field(
        description="to an object, on its way out or in, besides latency and link, by how long the worker did nothing"
    )
    worker_bytes: Positive | None = Field(
        None, description="resident memory of a worker that holds nothing, without a client of S3; null: the profile's"
    )

    @model_validator(mode="after")
    def _rests_ascend(self) -> "MachineSpec":
        for name, added in (("instruction_s", self.instruction_s), ("object_s", self.object_s)):
            for (low, _), (high, _) in pairwise(added if isinstance(added, list) else []):
                if high <= low:
                    raise ValueError(f"{name}: rests must ascend ({low:g} s, then {high:g} s)")
        return self


class StartUpSpec(Sourced):
    """From the workflow's start of a gang to its first instruction."""

    seconds: Latency
    ramp: bool = Field(False, description="whether environments start at Lambda's scaling rate")


class PlatformSpec(Strict):
    """A platform file."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    description: str = Field("", max_length=500)
    warning: str | None = Field(None, max_length=500, description="shown with every plan")
    links: LinkSpec
    requests: RequestSpec
    compute: ComputeSpec
    start_up: StartUpSpec
    machine: MachineSpec | None = Field(None, description="null: workers have a machine each, or transfers are copies")
    storage: Literal["standard", "express"]
    prices: PriceList = Field(description="a region whose prices come with the kit, or a whole price list")

    @model_validator(mode="after")
    def _one_machine_is_shared(self) -> "PlatformSpec":
        if self.machine is not None and (not self.compute.shared_cores or self.requests.serial):
            raise ValueError(
                "machine is of workers that share its cores, and whose links do not wait for one server: set "
                "compute.shared_cores to true and requests.serial to false, or leave machine out"
            )
        return self

    @model_validator(mode="after")
    def _storage_has_a_price(self) -> "PlatformSpec":
        if self.storage == "express" and self.prices.express is None:
            raise ValueError(
                f"storage is express, but prices has no express (region: {self.prices.region}). "
                "Give prices.express, or choose storage standard"
            )
        return self


def _resolved(value: Any, key: str, origin: str) -> Any:
    """``value`` with names of limits replaced by the limits. Raises UserInputError for a name that is none."""
    if isinstance(value, dict):
        return {
            name: each if name in ("source", "date", "note") else _resolved(each, f"{key}.{name}".lstrip("."), origin)
            for name, each in value.items()
        }
    if isinstance(value, str) and value.isupper():
        number = getattr(limits, value, None)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UserInputError(
                f"{origin}: {key}: there is no limit of that name in runtime/limits.py (given: {value!r}). "
                "Give a number."
            )
        return number
    return value


_NEXT = "docs/platform.md describes the file; `funcpipe calibrate STORE_URL -o FILE` writes one from what it measures."


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def parse_platform(text: str | bytes, origin: str) -> PlatformSpec:
    """Reads and validates a platform file; ``origin`` names it in messages.

    Raises:
        UserInputError: not JSON, another version, or a key unknown, missing or out of range.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserInputError(f"{origin}: not valid JSON: {error}. {_NEXT}") from None
    if not isinstance(document, dict):
        raise UserInputError(f"{origin}: a platform is a JSON object (given: {type(document).__name__}). {_NEXT}")
    version = document.get("schema_version")
    if version != PLATFORM_VERSION or isinstance(version, bool):
        raise UserInputError(
            f"{origin}: schema_version is {version!r}, this funcpipe reads {PLATFORM_VERSION}. {_NEXT}"
        )
    prices = document.get("prices")
    document = _resolved(document, "", origin)
    if isinstance(prices, str):
        if prices not in regions():
            raise UserInputError(
                f"{origin}: prices: the kit has no price list of that region (given: {prices!r}, there are: "
                f"{', '.join(regions())}). Name one of these, or copy planner/price_lists/{DEFAULT_REGION}.json to "
                "this place and put in that region's figures and their sources (docs/platform.md, Price lists)."
            )
        document["prices"] = price_list(prices).model_dump(mode="json", by_alias=True)
    try:
        return PlatformSpec.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise UserInputError(f"{describe_errors(error, origin)}\n{_NEXT}") from None


def load_platform(path: Path) -> PlatformSpec:
    """Reads and validates a platform file. Raises UserInputError as ``parse_platform``, and when it is not there."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserInputError(f"{path}: {error.strerror}. {_NEXT}") from None
    return parse_platform(text, str(path))
