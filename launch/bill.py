"""What a run has cost on AWS, or would have: an itemised bill, and the words that say how it was computed."""

from collections.abc import Sequence

from launch.billed import Invocation
from launch.run_records import RunRecords
from launch.status import worker_seconds
from planner.forecast import transitions
from planner.pricing import (
    Bill,
    bill,
    gb_seconds,
    lambda_compute,
    lambda_requests,
    lambda_tmp,
    s3_gets,
    s3_puts,
    state_transitions,
    tmp_gb_seconds,
)
from runtime.records import Traffic


def traffic_of(records: RunRecords) -> Traffic:
    """Requests and bytes of all workers that finished their segment."""
    each = [summary.traffic for summary in records.summaries.values()]
    return Traffic(**{name: sum(getattr(traffic, name) for traffic in each) for name in Traffic.model_fields})


def bill_by_records(records: RunRecords, now: float) -> tuple[Bill, str]:
    """The bill of the same run on AWS, from how long the workers ran here."""
    stages = records.manifest.stages
    seconds = worker_seconds(records, now)
    compute = sum(gb_seconds(stages[worker[2]].memory_mb, spent) for worker, spent in seconds.items())
    tmp = sum(tmp_gb_seconds(stages[worker[2]].ephemeral_storage_mb, spent) for worker, spent in seconds.items())
    basis = (
        f"{len(seconds)} worker runs, each from entering its handler to its end as measured here, times the memory of "
        "its stage in the manifest; storage requests as made here; start-up of functions is not included"
    )
    return _bill(records, compute, tmp, len(seconds)), basis


def bill_by_reports(records: RunRecords, invocations: Sequence[Invocation]) -> tuple[Bill, str]:
    """The bill from Lambda's own REPORT lines."""
    stages = records.manifest.stages
    compute = sum(gb_seconds(invocation.memory_mb, invocation.billed_s) for invocation in invocations)
    tmp = sum(tmp_gb_seconds(stages[i.stage].ephemeral_storage_mb, i.billed_s) for i in invocations)
    basis = (
        f"billed durations and memory sizes of {len(invocations)} REPORT lines in the functions' logs, "
        "start-up included"
    )
    return _bill(records, compute, tmp, len(invocations)), basis


def _bill(records: RunRecords, compute_gb_s: float, tmp_gb_s: float, invocations: int) -> Bill:
    traffic = traffic_of(records)
    manifest = records.manifest
    return bill(
        [
            lambda_compute(compute_gb_s, manifest.architecture),
            lambda_tmp(tmp_gb_s),
            lambda_requests(invocations),
            s3_puts(traffic.puts + traffic.lists),
            s3_gets(traffic.gets),
            state_transitions(transitions(len(manifest.stages), manifest.workers, len(records.gangs))),
        ]
    )
