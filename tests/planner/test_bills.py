"""A forecast plan's bills, item by item, against sums by hand."""

import pytest

from planner.bills import iteration_bill, list_prices, run_bill, spending, transitions
from planner.cost_model import CostModel
from planner.forecast import Forecast
from planner.platforms import PLATFORMS, Platform
from planner.pricing import Bill
from runtime.limits import LAMBDA_MAX_TIMEOUT_S
from runtime.manifest import Architecture, DatasetFacts
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm
from tests.planner.profiles import make_layer, make_profile, make_training

GB = 2**30
MONTH_S = 30 * 86_400
ITERATIONS = 100


def make_forecast(platform: Platform) -> Forecast:
    """Four layers on two stages of 2 GB, one and two replicas, trained by Adam."""
    profile = make_profile([make_layer() for _ in range(4)])
    training = make_training(iterations=ITERATIONS, optimizer={"name": "adam"})
    model = CostModel(profile=profile, platform=platform, training=training, architecture=Architecture.X86_64)
    stages = (model.stage(0, 2, 2048, 1), model.stage(2, 4, 2048, 2, Algorithm.PIECE_PIPELINED))
    dataset = DatasetFacts(train_samples=600, test_samples=200, sha256="0" * 64)
    return Forecast(model, stages, dataset, ScheduleName.GPIPE, Architecture.X86_64)


@pytest.fixture(scope="module", params=["aws-lambda", "aws-lambda-express"])
def forecast(request: pytest.FixtureRequest) -> Forecast:
    return make_forecast(PLATFORMS[request.param])


def quantities(bill: Bill) -> dict[str, float]:
    return {line.item: line.quantity for line in bill.lines}


def test_a_run_is_its_iterations_and_what_comes_around_them(forecast: Forecast) -> None:
    once = quantities(iteration_bill(forecast))
    run = quantities(run_bill(forecast, ITERATIONS, 5, checkpoints_kept=2))
    seconds = forecast.total_s(ITERATIONS, 5)
    init_s = 5 * forecast.model.platform.start_up_s
    assert run["Lambda init (x86_64)"] == pytest.approx(3 * 2 * init_s)
    assert run["Lambda compute (x86_64)"] == pytest.approx(3 * 2 * (seconds - init_s))
    for item in ("S3 PUT", "S3 GET", "S3 GET, nothing there yet"):
        assert run[item] == pytest.approx(ITERATIONS * once[item])
    assert run["Lambda requests"] == 3 * 5
    assert run["Step Functions transitions"] == transitions(2, 3, 5)
    assert run["CloudWatch Logs"] > 0
    assert ("S3 upload" in run) == ("S3 retrieval" in run) == (forecast.model.platform.storage == "express")


def test_storage_holds_each_checkpoint_from_the_end_of_its_segment_and_the_rest_all_the_time(
    forecast: Forecast,
) -> None:
    profile, seconds = forecast.model.profile, forecast.total_s(ITERATIONS, 5)
    weights = sum(layer.parameter_bytes + layer.buffer_bytes for layer in profile.layers)
    checkpoint = weights + 2 * sum(layer.trainable_parameter_bytes for layer in profile.layers)
    data = (profile.input_bytes + profile.target_bytes) / profile.micro_batch_size * 800
    run = quantities(run_bill(forecast, ITERATIONS, 5, checkpoints_kept=2))
    held = (data + weights) * seconds + checkpoint * (4 + 3 + 2 + 1) * seconds / 5
    assert run["S3 storage"] == pytest.approx(held / GB / MONTH_S)
    # Of six commits the newest two stay; the oldest one is the initial one, without the optimiser's state.
    deleted = weights + 3 * checkpoint
    assert run["S3 storage, deleted checkpoints"] == pytest.approx(deleted / GB * 3 / 30)
    assert "S3 storage, deleted checkpoints" not in quantities(run_bill(forecast, ITERATIONS, 5, checkpoints_kept=6))


def test_spending_carries_all_prices_of_a_report(forecast: Forecast) -> None:
    told, prices = spending(forecast, 3.0), forecast.model.platform.prices
    assert told.budget_usd == 3.0
    assert told.listed == list_prices(forecast.model.platform)
    assert (told.listed.region, told.listed.usd_per_gb_month) == ("us-east-1", prices.standard.usd_per_gb_month)
    assert (told.listed.usd_per_gb_up > 0) == (forecast.model.platform.storage == "express")
    compute = 3 * 2 * LAMBDA_MAX_TIMEOUT_S * prices.lambda_.usd_per_gb_s.x86_64
    assert told.segment_at_most_usd > compute + told.prices.usd_per_attempt
