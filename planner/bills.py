"""What a forecast plan costs, by item: an iteration, the whole run, and at worst an attempt at a segment."""

from dataclasses import replace

from planner.forecast import SAFETY, Forecast
from planner.platforms import Platform
from planner.pricing import Bill, Used, gb_months, tmp_gb_seconds
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
    return _bill(forecast, _iterations(forecast, forecast.iteration_s, 1))


def run_bill(forecast: Forecast, iterations: int, segments: int, checkpoints_kept: int) -> Bill:
    """What the run costs. Not in it: what it leaves in storage, monitoring, and the upload of the data.

    Args:
        checkpoints_kept: newest commits whose layers stay; older ones are deleted (``runtime.closing``).
    """
    seconds = forecast.total_s(iterations, segments)
    init_s = forecast.model.platform.start_up_s * segments
    stored, deleted = _stored(forecast, seconds, segments, checkpoints_kept)
    used = replace(
        _iterations(forecast, seconds, iterations),
        compute_gb_s=_memory_gb(forecast) * (seconds - init_s),
        init_gb_s=_memory_gb(forecast) * init_s,
        invocations=forecast.workers * segments,
        stored_gb_months=stored,
        deleted_gb_months=deleted,
        transitions=transitions(len(forecast.stages), forecast.workers, segments),
        log_bytes=forecast.workers * segments * LOG_BYTES,
    )
    return _bill(forecast, used)


def spending(forecast: Forecast, budget_usd: float | None) -> Spending:
    """The manifest's prices, and what one attempt at a segment may cost at worst.

    The worst case is that every worker hangs until Lambda ends it, after as many storage requests as a segment of that
    length would make were iterations ``SAFETY`` times as fast as predicted.
    """
    life_s = LAMBDA_MAX_TIMEOUT_S
    iterations = SAFETY * life_s / forecast.iteration_s if forecast.iteration_s else 0.0
    hung = _iterations(forecast, life_s, iterations)
    worst = replace(hung, invocations=forecast.workers, transitions=_attempt_transitions(forecast))
    return Spending(
        budget_usd=budget_usd,
        prices=_prices(forecast),
        listed=list_prices(forecast.model.platform),
        segment_at_most_usd=significant(_bill(forecast, worst).total_usd),
    )


def _attempt_transitions(forecast: Forecast) -> int:
    """Of one more attempt at a segment."""
    stages, workers = len(forecast.stages), forecast.workers
    return transitions(stages, workers, 2) - transitions(stages, workers, 1)


def _prices(forecast: Forecast) -> Prices:
    platform, listed = forecast.model.platform, list_prices(forecast.model.platform)
    attempt_usd = forecast.workers * listed.usd_per_request
    attempt_usd += _attempt_transitions(forecast) * listed.usd_per_transition
    return Prices(
        usd_per_gb_s=platform.prices.lambda_.usd_per_gb_s.of(forecast.architecture),
        usd_per_tmp_gb_s=platform.prices.lambda_.usd_per_tmp_gb_s,
        usd_per_put=platform.storage_prices.usd_per_put,
        usd_per_get=platform.storage_prices.usd_per_get,
        usd_per_attempt=significant(attempt_usd),
    )


def _bill(forecast: Forecast, used: Used) -> Bill:
    return used.bill(forecast.architecture, _prices(forecast), list_prices(forecast.model.platform))


def _memory_gb(forecast: Forecast) -> float:
    return sum(stage.memory_gb for stage in forecast.stages)


def _iterations(forecast: Forecast, seconds: float, iterations: float) -> Used:
    """Of all workers for ``seconds``, in which they do so many iterations."""
    stages = forecast.stages
    return Used(
        compute_gb_s=seconds * _memory_gb(forecast),
        tmp_gb_s=sum(stage.replicas * tmp_gb_seconds(stage.ephemeral_storage_mb, seconds) for stage in stages),
        puts=iterations * sum(stage.puts for stage in stages),
        gets=iterations * sum(stage.gets for stage in stages),
        empty_gets=iterations * sum(forecast.simulation.empty_gets),
        bytes_up=iterations * sum(stage.bytes_up for stage in stages),
        bytes_down=iterations * sum(stage.bytes_down for stage in stages),
    )


def _stored(forecast: Forecast, seconds: float, segments: int, checkpoints_kept: int) -> tuple[float, float]:
    """GB-months in the artifact bucket over ``seconds``, and of what is deleted of it, which stays as an old version
    and is billed on. Data and initial weights are there all the time, each segment's checkpoint from its end on."""
    memories = [forecast.memory(index) for index in range(len(forecast.stages))]
    weights = sum(memory.weights for memory in memories)
    checkpoint = weights + sum(memory.optimizer for memory in memories)
    byte_s = (_data_bytes(forecast) + weights) * seconds + checkpoint * seconds * (segments - 1) / 2
    deleted = checkpoint * max(0, segments - checkpoints_kept) + weights * (segments >= checkpoints_kept)
    return gb_months(byte_s, 1.0), gb_months(deleted, DELETED_KEPT_S)


def _data_bytes(forecast: Forecast) -> float:
    """Of all samples, held-out ones included."""
    profile, dataset = forecast.model.profile, forecast.dataset
    measured = min(profile.micro_batch_size, dataset.train_samples)
    samples = dataset.train_samples + dataset.test_samples
    return (profile.input_bytes + profile.target_bytes) / measured * samples
