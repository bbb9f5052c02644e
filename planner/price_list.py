"""AWS prices as data: one file per region in ``planner/price_lists``, each price with its source and date. No torch."""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from runtime.manifest import Architecture
from runtime.prices import Region
from runtime.spec import NonNegative, Positive, Strict

FOLDER = Path(__file__).parent / "price_lists"
DEFAULT_REGION = "us-east-1"

Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="on which the source was read")]
Source = Annotated[str, Field(min_length=1, max_length=200)]


class Sourced(Strict):
    """Figures that somebody published or measured."""

    source: Source
    date: Day


class GbSecondPrices(Strict):
    """USD for 1,024 MB of a function's memory over one second."""

    x86_64: Positive
    arm64: Positive

    def of(self, architecture: Architecture) -> float:
        return float(getattr(self, architecture.value))


class LambdaPrices(Sourced):
    usd_per_gb_s: GbSecondPrices
    usd_per_request: NonNegative
    usd_per_tmp_gb_s: NonNegative = Field(description="of /tmp above what is free")


class StoragePrices(Sourced):
    """One class of S3 storage."""

    usd_per_put: NonNegative = Field(description="PUT, COPY, POST, LIST; DELETE is free")
    usd_per_get: NonNegative = Field(description="GET, HEAD; also one that is answered 'no such key'")
    usd_per_gb_up: NonNegative
    usd_per_gb_down: NonNegative
    usd_per_gb_month: NonNegative


class StatesPrices(Sourced):
    usd_per_transition: NonNegative


class LogPrices(Sourced):
    usd_per_gb: NonNegative = Field(description="taken in")
    usd_per_gb_month: NonNegative


class PriceList(Strict):
    """One region's prices in USD."""

    schema_version: Literal[1]
    region: Region
    note: Source
    lambda_: LambdaPrices = Field(alias="lambda")
    standard: StoragePrices
    express: StoragePrices | None = Field(None, description="null where the region has no S3 Express One Zone")
    states: StatesPrices
    logs: LogPrices


def regions() -> list[str]:
    """Those whose prices come with the kit."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def price_list(region: str = DEFAULT_REGION) -> PriceList:
    """A region's prices. Raises FileNotFoundError when there is no such file."""
    text = (FOLDER / f"{region}.json").read_text(encoding="utf-8")
    return PriceList.model_validate_json(json.dumps(json.loads(text)), strict=True)
