"""What a run has cost on AWS, or would have: an itemised bill, and the words that say how it was computed."""

from collections.abc import Sequence
from dataclasses import replace

from launch.billed import Invocation
from launch.run_records import RunRecords
from launch.status import worker_seconds
from launch.stored import stored
from planner.bills import list_prices, transitions
from planner.platforms import PLATFORMS
from planner.pricing import Bill, Used, gb_months, gb_seconds, tmp_gb_seconds
from runtime.closing import DELETED_KEPT_S
from runtime.manifest import Manifest
from runtime.prices import ListPrices
from runtime.records import Traffic


def traffic_of(records: RunRecords) -> Traffic:
    """Requests and bytes of all workers that finished their segment."""
    each = [summary.traffic for summary in records.summaries.values()]
    return Traffic(**{name: sum(getattr(traffic, name) for traffic in each) for name in Traffic.model_fields})


def listed_prices(manifest: Manifest) -> ListPrices:
    """The manifest's; where an older one has none, those of its platform, or of the first of the kit's."""
    return manifest.spending.listed or list_prices(PLATFORMS.get(manifest.platform, PLATFORMS["aws-lambda"]))


def bill_by_records(records: RunRecords, now: float) -> tuple[Bill, str]:
    """The bill of the same run on AWS, from how long the workers ran here."""
    stages = records.manifest.stages
    seconds = worker_seconds(records, now)
    ran = [(worker[2], spent) for worker, spent in seconds.items()]
    begun = [(worker[2], summary.init_s) for worker, summary in records.summaries.items()]
    basis = (
        f"{len(seconds)} worker runs, each from entering its handler to its end as measured here, and before that the "
        "start of its process, times the memory of its stage in the manifest; storage requests as made here; "
        f"{_LEFT_OUT}; nor is what functions log"
    )
    used = Used(
        compute_gb_s=sum(gb_seconds(stages[stage].memory_mb, spent) for stage, spent in ran),
        init_gb_s=sum(gb_seconds(stages[stage].memory_mb, spent) for stage, spent in begun),
        tmp_gb_s=sum(tmp_gb_seconds(stages[stage].ephemeral_storage_mb, spent) for stage, spent in [*ran, *begun]),
        invocations=len(seconds),
    )
    return _bill(records, used), basis


def bill_by_reports(
    records: RunRecords, invocations: Sequence[Invocation], log_bytes: int | None = None
) -> tuple[Bill, str]:
    """The bill from Lambda's own REPORT lines, and from what the functions' logs hold where that is known."""
    stages = records.manifest.stages
    init = {invocation: invocation.init_s or 0.0 for invocation in invocations}
    used = Used(
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
    return _bill(records, used), basis


_LEFT_OUT = (
    "storage in the artifact bucket until the run's end by what its records say, and for another "
    f"{DELETED_KEPT_S // 86_400} days the old versions of what it deleted; requests of workers that left no summary "
    "are not included, nor is what the run has left in the bucket, by the month"
)


def _bill(records: RunRecords, of_lambda: Used) -> Bill:
    traffic, manifest, kept = traffic_of(records), records.manifest, stored(records)
    used = replace(
        of_lambda,
        puts=traffic.puts,
        lists=traffic.lists,
        gets=traffic.gets - traffic.empty_gets,
        empty_gets=traffic.empty_gets,
        bytes_up=traffic.bytes_up,
        bytes_down=traffic.bytes_down,
        stored_gb_months=gb_months(kept.byte_s, 1.0),
        deleted_gb_months=gb_months(kept.deleted_bytes, DELETED_KEPT_S),
        transitions=transitions(len(manifest.stages), manifest.workers, len(records.gangs)),
    )
    return used.bill(manifest.architecture, manifest.spending.prices, listed_prices(manifest))
