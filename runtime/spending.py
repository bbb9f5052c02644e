"""What a run has cost and may cost, by the prices in its manifest: USD.

Billed are, of every worker, the seconds from its start to its end times its memory (and /tmp above what is free), its
storage requests, and what each attempt costs by itself (invocations, the workflow's transitions). Storage by the month,
logs and the upload of the data are not counted.
"""

from collections.abc import Iterable

from runtime.limits import LAMBDA_MIN_TMP_MB
from runtime.manifest import Manifest, Stage
from runtime.prices import Prices
from runtime.records import Abort, Traffic, WorkerSummary

STOPPING_S = 10.0
"""The longest that a worker goes on after its attempt was aborted, but for one that hangs: a poll of the outcome,
``runtime.hard_stop``'s grace, and its last words."""
_MB_PER_GB = 1_024


def worker_usd_per_s(stage: Stage, prices: Prices) -> float:
    """Of one worker of the stage."""
    tmp_mb = max(0, stage.ephemeral_storage_mb - LAMBDA_MIN_TMP_MB)
    return (stage.memory_mb * prices.usd_per_gb_s + tmp_mb * prices.usd_per_tmp_gb_s) / _MB_PER_GB


def gang_usd_per_s(manifest: Manifest) -> float:
    """Of all workers at once, without their storage requests."""
    return sum(stage.replicas * worker_usd_per_s(stage, manifest.spending.prices) for stage in manifest.stages)


def requests_usd(traffic: Traffic, prices: Prices) -> float:
    """Of storage requests; DELETE is free."""
    return (traffic.puts + traffic.lists) * prices.usd_per_put + traffic.gets * prices.usd_per_get


def predicted_requests_usd_per_s(manifest: Manifest) -> float:
    """Of all workers' storage requests while they train, as planned."""
    predicted = manifest.predicted
    if predicted.iteration_s == 0:
        return 0.0
    return max(0.0, predicted.usd_per_iteration / predicted.iteration_s - gang_usd_per_s(manifest))


def committed_usd(manifest: Manifest, summaries: Iterable[WorkerSummary]) -> float:
    """Of an attempt whose workers have all told how long they ran."""
    prices = manifest.spending.prices
    usd = prices.usd_per_attempt
    for summary in summaries:
        usd += billed_s(summary) * worker_usd_per_s(manifest.stages[summary.event.stage], prices)
        usd += requests_usd(summary.traffic, prices)
    return usd


def billed_s(summary: WorkerSummary) -> float:
    """How long Lambda bills the worker for, but for what it does after its summary."""
    return summary.init_s + summary.ended_at - summary.started_at


def aborted_s(manifest: Manifest, abort: Abort) -> float:
    """How long the workers of an aborted attempt ran, each, at most; Lambda ends them at the functions' timeout."""
    return min(max(0.0, abort.at - abort.begun_at) + STOPPING_S, float(manifest.segment.timeout_s))


def aborted_usd(manifest: Manifest, abort: Abort) -> float:
    """Of an attempt whose workers did not all tell: at most."""
    per_s = gang_usd_per_s(manifest) + predicted_requests_usd_per_s(manifest)
    return manifest.spending.prices.usd_per_attempt + aborted_s(manifest, abort) * per_s
