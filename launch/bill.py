"""What a run has cost on AWS, or would have: an itemised bill, and the words that say how it was computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from launch.billed import Invocation
from launch.run_records import RunRecords
from launch.status import worker_seconds
from planner.forecast import transitions
from planner.platforms import PLATFORMS
from planner.price_list import PriceList, price_list
from planner.pricing import (
    Bill,
    bill,
    gb_seconds,
    lambda_compute,
    lambda_init,
    lambda_requests,
    lambda_tmp,
    logs,
    s3_empty_gets,
    s3_gets,
    s3_lists,
    s3_puts,
    state_transitions,
    tmp_gb_seconds,
)
from runtime.manifest import Manifest
from runtime.records import Traffic


def traffic_of(records: RunRecords) -> Traffic:
    """Requests and bytes of all workers that finished their segment."""
    each = [summary.traffic for summary in records.summaries.values()]
    return Traffic(**{name: sum(getattr(traffic, name) for traffic in each) for name in Traffic.model_fields})


def list_prices(manifest: Manifest) -> PriceList:
    """Prices of what the manifest has none of its own for: those of its platform, where the kit has that."""
    known = PLATFORMS.get(manifest.platform)
    return known.prices if known else price_list()


def bill_by_records(records: RunRecords, now: float) -> tuple[Bill, str]:
    """The bill of the same run on AWS, from how long the workers ran here."""
    stages = records.manifest.stages
    seconds = worker_seconds(records, now)
    ran = [(worker[2], spent) for worker, spent in seconds.items()]
    begun = [(worker[2], summary.init_s) for worker, summary in records.summaries.items()]
    basis = (
        f"{len(seconds)} worker runs, each from entering its handler to its end as measured here, and before that the "
        "start of its process, times the memory of its stage in the manifest; storage requests as made here; "
        f"{_LEFT_OUT}, nor what functions log"
    )
    made = _Made(
        compute_gb_s=sum(gb_seconds(stages[stage].memory_mb, spent) for stage, spent in ran),
        init_gb_s=sum(gb_seconds(stages[stage].memory_mb, spent) for stage, spent in begun),
        tmp_gb_s=sum(tmp_gb_seconds(stages[stage].ephemeral_storage_mb, spent) for stage, spent in [*ran, *begun]),
        invocations=len(seconds),
    )
    return _bill(records, made), basis


def bill_by_reports(
    records: RunRecords, invocations: Sequence[Invocation], log_bytes: int | None = None
) -> tuple[Bill, str]:
    """The bill from Lambda's own REPORT lines, and from what the functions' logs hold where that is known."""
    stages = records.manifest.stages
    init = {invocation: invocation.init_s or 0.0 for invocation in invocations}
    made = _Made(
        compute_gb_s=sum(gb_seconds(i.memory_mb, i.billed_s - spent) for i, spent in init.items()),
        init_gb_s=sum(gb_seconds(i.memory_mb, spent) for i, spent in init.items()),
        tmp_gb_s=sum(tmp_gb_seconds(stages[i.stage].ephemeral_storage_mb, i.billed_s) for i in invocations),
        invocations=len(invocations),
        log_bytes=log_bytes or 0,
    )
    basis = (
        f"billed durations and memory sizes of {len(invocations)} REPORT lines in the functions' logs, "
        f"start-up included; {_LEFT_OUT}"
    )
    return _bill(records, made), basis


_LEFT_OUT = "requests of workers that left no summary are not included, nor is storage by the month"


@dataclass(frozen=True)
class _Made:
    """What a run took of Lambda."""

    compute_gb_s: float
    init_gb_s: float
    tmp_gb_s: float
    invocations: int
    log_bytes: int = 0


def _bill(records: RunRecords, made: _Made) -> Bill:
    traffic, manifest = traffic_of(records), records.manifest
    own, listed = manifest.spending.prices, list_prices(manifest)
    return bill(
        [
            lambda_compute(made.compute_gb_s, manifest.architecture, own.usd_per_gb_s),
            lambda_init(made.init_gb_s, manifest.architecture, own.usd_per_gb_s),
            lambda_tmp(made.tmp_gb_s, own.usd_per_tmp_gb_s),
            lambda_requests(made.invocations, listed),
            s3_puts(traffic.puts, own.usd_per_put),
            s3_lists(traffic.lists, own.usd_per_put),
            s3_gets(traffic.gets - traffic.empty_gets, own.usd_per_get),
            s3_empty_gets(traffic.empty_gets, own.usd_per_get),
            state_transitions(transitions(len(manifest.stages), manifest.workers, len(records.gangs)), listed),
            logs(made.log_bytes, listed),
        ]
    )
