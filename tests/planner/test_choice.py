import itertools

import pytest

from planner.bills import run_bill
from planner.choice import Asked, Optimize, choose, find_choices, with_limits
from planner.job import Job, Limits, Objective
from planner.platforms import PLATFORMS
from planner.variants import job_problems
from runtime.errors import UserInputError
from runtime.spec import DataSpec, ModelSpec
from tests.planner.profiles import make_layer, make_profile, make_training

LAMBDA = PLATFORMS["aws-lambda"]


def make_job(**limits) -> Job:
    return Job(
        name="test",
        model=ModelSpec(factory="model:build"),
        data=DataSpec(factory="data:load"),
        training=make_training(iterations=100),
        objective=Objective(),
        limits=Limits(**{"memory_mb": [1024, 1769, 3538], "max_replicas": 4, **limits}),
    )


PROFILE = make_profile([make_layer() for _ in range(5)])


@pytest.fixture(scope="module")
def choices():
    job = make_job()
    return find_choices(job, job_problems(job, PROFILE, LAMBDA), 0.001)


def test_choices_are_a_staircase_of_whole_runs(choices):
    assert len(choices.runs) > 3
    for fast, cheap in itertools.pairwise(choices.runs):
        assert fast.total_s < cheap.total_s and fast.usd > cheap.usd
    for run in choices.runs:
        overhead_s = run.segments * run.forecast.segment_overhead_s
        assert run.total_s > run.iterations * run.forecast.iteration_s * 0.99 + overhead_s
        assert run.usd == run_bill(run.forecast, 100, run.segments, 2).total_usd


def test_a_deadline_is_kept_as_cheaply_as_possible(choices):
    for run in choices.runs:
        best = choices.best(Asked(deadline_s=run.total_s))
        assert best == run, "the next cheaper one is too slow"


def test_a_budget_is_spent_on_speed(choices):
    for run in choices.runs:
        assert choices.best(Asked(budget_usd=run.usd)) == run


def test_time_cost_and_balance(choices):
    assert choices.best(Asked(optimize=Optimize.TIME)) == choices.runs[0]
    assert choices.best(Asked(optimize=Optimize.COST)) == choices.runs[-1]
    balanced = choices.best(Asked(optimize=Optimize.BALANCED))
    assert balanced.usd * balanced.total_s == min(run.usd * run.total_s for run in choices.runs)
    bounded = choices.best(Asked(deadline_s=choices.runs[0].total_s, optimize=Optimize.BALANCED))
    assert bounded == choices.runs[0]


def test_without_a_question_the_jobs_objective_decides():
    job = make_job().model_copy(update={"objective": Objective(usd_weight=0, time_weight=1)})
    chosen = choose(job, PROFILE, LAMBDA, Asked())
    run, gap = chosen.run, chosen.gap
    assert gap == 0
    fastest = choose(job, PROFILE, LAMBDA, Asked(optimize=Optimize.TIME)).run
    assert fastest.total_s <= run.total_s * 1.01


def test_a_deadline_out_of_reach_is_answered_with_shortfall_and_priced_remedies():
    job = make_job(max_replicas=1, max_stages=2)
    choices = find_choices(job, job_problems(job, PROFILE, LAMBDA))
    fastest = choices.runs[0]
    asked = Asked(deadline_s=0.9 * fastest.total_s)
    with pytest.raises(UserInputError) as caught:
        choose(job, PROFILE, LAMBDA, asked)
    message = str(caught.value)
    assert "no plan within the job's limits meets the deadline" in message
    assert f"({fastest.usd:.3g} USD)" in message or f", {fastest.usd:.3g} USD)" in message
    assert "Any of these would help:" in message
    remedy = next(line for line in message.splitlines() if "limits.max_replicas = 2" in line)
    # The remedy is what a plan with it costs.
    changed = with_limits(job, max_replicas=2, max_concurrency=200)
    run = choose(changed, PROFILE, LAMBDA, asked).run
    assert f"{run.usd:.3g} USD" in remedy and run.keeps(asked)


def test_a_budget_below_any_plan():
    with pytest.raises(UserInputError, match=r"budget of 1e-09 USD: the cheapest costs .* more"):
        choose(make_job(), PROFILE, LAMBDA, Asked(budget_usd=1e-9))


def test_deadline_and_budget_that_exclude_each_other(choices):
    asked = Asked(deadline_s=choices.runs[0].total_s, budget_usd=choices.runs[-1].usd)
    with pytest.raises(UserInputError, match=r"in that time the cheapest is .*; for that money the fastest is"):
        choose(make_job(), PROFILE, LAMBDA, asked)


def test_limits_that_contradict_each_other_are_told():
    with pytest.raises(UserInputError, match="must not exceed max_concurrency"):
        with_limits(make_job(min_workers=4), max_concurrency=2)
