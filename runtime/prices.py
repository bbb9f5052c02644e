"""A manifest's prices: what a run counts its spending with, and what its report is made of. USD, as of the planning."""

from typing import Annotated

from pydantic import Field

from runtime.spec import NonNegative, Positive, Strict

Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]


class Prices(Strict):
    """USD, as of the planning: what a run counts its spending with."""

    usd_per_gb_s: Positive = Field(description="of a function's memory")
    usd_per_tmp_gb_s: NonNegative = Field(description="of /tmp above what is free")
    usd_per_put: NonNegative = Field(description="PUT and LIST")
    usd_per_get: NonNegative
    usd_per_attempt: NonNegative = Field(description="invocations, and the workflow's transitions, of one gang")


class ListPrices(Strict):
    """USD of what else AWS bills a run for, as of the planning: with these a report is priced."""

    region: Region = Field(description="whose public list prices these are, and those of ``Prices``")
    usd_per_request: NonNegative = Field(description="of Lambda")
    usd_per_transition: NonNegative = Field(description="of Step Functions")
    usd_per_gb_up: NonNegative = Field(description="into the inboxes")
    usd_per_gb_down: NonNegative = Field(description="out of the inboxes")
    usd_per_gb_month: NonNegative = Field(description="in the artifact bucket")
    usd_per_gb_logged: NonNegative
