"""What a forecast plan costs, by item: an iteration, the whole run, and at worst an attempt at a segment."""

from planner.forecast import SAFETY, Forecast
from planner.platforms import Platform
from planner.pricing import (
    Bill,
    BillLine,
    bill,
    gb_months,
    lambda_compute,
    lambda_init,
    lambda_requests,
    lambda_tmp,
    logs,
    s3_bytes,
    s3_deleted,
    s3_empty_gets,
    s3_gets,
    s3_puts,
    s3_storage,
    state_transitions,
    tmp_gb_seconds,
)
from planner.rounding import significant
from runtime.closing import DELETED_KEPT_S
from runtime.limits import LAMBDA_MAX_TIMEOUT_S
from runtime.manifest import Spending
from runtime.prices import ListPrices, Prices

LOG_BYTES = 1_060
"""Of one worker in one segment, as CloudWatch bills them: its own first and last line, and Lambda's three, as they come
out for examples/digits, with 26 bytes for each. Not metrics, nor what the model prints."""


def transitions(stages: int, workers: int, segments: int) -> int:
    """State transitions of a run without failures: every state that the workflow enters, start and end included."""
    # Prepare, the last state; of each segment Segment, its stages and workers, Read the outcome, Committed?, Why did it
    # end?; between two of them Next segment, Room in this execution?
    return 2 + segments * (4 + stages + workers) + 2 * max(0, segments - 1)


def list_prices(platform: Platform) -> ListPrices:
    """A platform's prices of what ``Prices`` leaves out."""
    prices, inboxes = platform.prices, platform.storage_prices
    return ListPrices(
        region=prices.region,
        usd_per_request=prices.lambda_.usd_per_request,
        usd_per_transition=prices.states.usd_per_transition,
        usd_per_gb_up=inboxes.usd_per_gb_up,
        usd_per_gb_down=inboxes.usd_per_gb_down,
        usd_per_gb_month=prices.standard.usd_per_gb_month,
        usd_per_gb_logged=prices.logs.usd_per_gb,
    )


def iteration_bill(forecast: Forecast) -> Bill:
    """What one iteration costs."""
    return bill(_lines(forecast, forecast.iteration_s, 1))


def run_bill(forecast: Forecast, iterations: int, segments: int, checkpoints_kept: int) -> Bill:
    """What the run costs. Not in it: what it leaves in storage, monitoring, and the upload of the data.

    Args:
        checkpoints_kept: newest commits whose layers stay; older ones are deleted (``runtime.closing``).
    """
    model, prices = forecast.model, list_prices(forecast.model.platform)
    seconds = forecast.total_s(iterations, segments)
    init_s = model.platform.start_up_s * segments
    memory_gb = sum(stage.memory_gb for stage in forecast.stages)
    entered = transitions(len(forecast.stages), forecast.workers, segments)
    return bill(
        [
            _compute(forecast, seconds - init_s),
            lambda_init(memory_gb * init_s, forecast.architecture, model.usd_per_gb_s),
            _tmp(forecast, seconds),
            lambda_requests(forecast.workers * segments, prices.usd_per_request),
            *_request_lines(forecast, iterations),
            *_storage_lines(forecast, seconds, segments, checkpoints_kept),
            state_transitions(entered, prices.usd_per_transition),
            logs(forecast.workers * segments * LOG_BYTES, prices.usd_per_gb_logged),
        ]
    )


def spending(forecast: Forecast, budget_usd: float | None) -> Spending:
    """The manifest's prices, and what one attempt at a segment may cost at worst.

    The worst case is that every worker hangs until Lambda ends it, after as many storage requests as a segment of that
    length would make were iterations ``SAFETY`` times as fast as predicted.
    """
    life_s, stages, workers = LAMBDA_MAX_TIMEOUT_S, len(forecast.stages), forecast.workers
    prices, storage = forecast.model.platform.prices, forecast.model.platform.storage_prices
    listed = list_prices(forecast.model.platform)
    more = transitions(stages, workers, 2) - transitions(stages, workers, 1)
    attempt = [lambda_requests(workers, listed.usd_per_request), state_transitions(more, listed.usd_per_transition)]
    iterations = SAFETY * life_s / forecast.iteration_s if forecast.iteration_s else 0.0
    worst = bill([*_lines(forecast, life_s, iterations), *attempt])
    return Spending(
        budget_usd=budget_usd,
        prices=Prices(
            usd_per_gb_s=prices.lambda_.usd_per_gb_s.of(forecast.architecture),
            usd_per_tmp_gb_s=prices.lambda_.usd_per_tmp_gb_s,
            usd_per_put=storage.usd_per_put,
            usd_per_get=storage.usd_per_get,
            usd_per_attempt=significant(bill(attempt).total_usd),
        ),
        listed=listed,
        segment_at_most_usd=significant(worst.total_usd),
    )


def _compute(forecast: Forecast, seconds: float) -> BillLine:
    memory_gb = sum(stage.memory_gb for stage in forecast.stages)
    return lambda_compute(seconds * memory_gb, forecast.architecture, forecast.model.usd_per_gb_s)


def _tmp(forecast: Forecast, seconds: float) -> BillLine:
    billed = sum(stage.replicas * tmp_gb_seconds(stage.ephemeral_storage_mb, seconds) for stage in forecast.stages)
    return lambda_tmp(billed, forecast.model.platform.prices.lambda_.usd_per_tmp_gb_s)


def _lines(forecast: Forecast, seconds: float, iterations: float) -> list[BillLine]:
    """Of all workers for ``seconds``, in which they do so many iterations."""
    return [_compute(forecast, seconds), _tmp(forecast, seconds), *_request_lines(forecast, iterations)]


def _request_lines(forecast: Forecast, iterations: float) -> list[BillLine]:
    """What so many iterations ask of the inboxes, by kind of request."""
    storage, stages = forecast.model.platform.storage_prices, forecast.stages
    bytes_up, bytes_down = sum(stage.bytes_up for stage in stages), sum(stage.bytes_down for stage in stages)
    return [
        s3_puts(iterations * sum(stage.puts for stage in stages), storage.usd_per_put),
        s3_gets(iterations * sum(stage.gets for stage in stages), storage.usd_per_get),
        s3_empty_gets(iterations * sum(forecast.simulation.empty_gets), storage.usd_per_get),
        *s3_bytes(iterations * bytes_up, iterations * bytes_down, storage.usd_per_gb_up, storage.usd_per_gb_down),
    ]


def _storage_lines(forecast: Forecast, seconds: float, segments: int, checkpoints_kept: int) -> list[BillLine]:
    """The artifact bucket over ``seconds``: data and initial weights all the time, each segment's checkpoint from its
    end on. What is deleted of it stays as an old version, and is billed on."""
    memories = [forecast.memory(index) for index in range(len(forecast.stages))]
    weights = sum(memory.weights for memory in memories)
    checkpoint = weights + sum(memory.optimizer for memory in memories)
    byte_s = (_data_bytes(forecast) + weights) * seconds + checkpoint * seconds * (segments - 1) / 2
    deleted = checkpoint * max(0, segments - checkpoints_kept) + weights * (segments >= checkpoints_kept)
    price = forecast.model.platform.prices.standard.usd_per_gb_month
    return [s3_storage(gb_months(byte_s, 1.0), price), s3_deleted(gb_months(deleted, DELETED_KEPT_S), price)]


def _data_bytes(forecast: Forecast) -> float:
    """Of all samples, held-out ones included."""
    profile, dataset = forecast.model.profile, forecast.dataset
    measured = min(profile.micro_batch_size, dataset.train_samples)
    samples = dataset.train_samples + dataset.test_samples
    return (profile.input_bytes + profile.target_bytes) / measured * samples
