import pytest

from planner.choice import Asked, choose
from planner.job import Job, Limits, Objective
from planner.platforms import PLATFORMS
from planner.variants import cost_models, job_problems
from runtime.errors import UserInputError
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from runtime.spec import EXACT_WIRE, DataSpec, ModelSpec, WireType
from tests.planner.profiles import make_layer, make_profile, make_training

LAMBDA = PLATFORMS["aws-lambda"]
PROFILE = make_profile([make_layer() for _ in range(3)])


def make_job(**limits) -> Job:
    return Job(
        name="test",
        model=ModelSpec(factory="model:build"),
        data=DataSpec(factory="data:load"),
        training=make_training(iterations=100),
        objective=Objective(),
        limits=Limits(**{"memory_mb": [1769, 3538], "max_replicas": 2, "min_stages": 2, **limits}),
    )


def test_without_a_word_the_job_stays_as_it_is():
    (model,) = cost_models(make_job(), PROFILE, LAMBDA)
    assert model.training == make_job().training
    assert (model.wire, model.architecture) == (EXACT_WIRE, Architecture.X86_64)
    run = choose(make_job(), PROFILE, LAMBDA, Asked()).run
    assert (run.forecast.model.wire, run.forecast.architecture) == (EXACT_WIRE, Architecture.X86_64)


def test_what_is_left_open_is_searched_together():
    job = make_job(wire="auto", architecture="auto")
    found = job_problems(job, PROFILE, LAMBDA)
    choices = [(p.model.wire.gradients, p.model.architecture, p.schedule) for p in found]
    assert len(set(choices)) == len(choices) == 2 * 2 * 3
    assert choices[0] == (WireType.NATIVE, Architecture.X86_64, ScheduleName.GPIPE), "the job's own first"
    chosen = choose(job, PROFILE, LAMBDA, Asked())
    run, gap = chosen.run, chosen.gap
    assert gap == 0
    assert run.forecast.model.wire.activations is WireType.BFLOAT16, "fewer bytes"
    assert run.forecast.architecture is Architecture.ARM64, "a cheaper second"
    assert run.usd < choose(make_job(), PROFILE, LAMBDA, Asked()).run.usd


def test_one_of_a_list_is_insisted_on():
    job = make_job(wire=["bfloat16"], architecture=["arm64"], schedule="gpipe")
    (problem,) = job_problems(job, PROFILE, LAMBDA)
    assert problem.model.wire.gradients is WireType.BFLOAT16
    assert problem.model.architecture is Architecture.ARM64


def test_a_micro_batch_size_that_nothing_was_measured_at():
    with pytest.raises(UserInputError, match="asked for: 4"):
        cost_models(make_job(micro_batch_size=[4, 8]), PROFILE, LAMBDA)


def test_a_micro_batch_larger_than_a_batch():
    with pytest.raises(UserInputError, match=r"lists 128, training\.global_batch_size is 64"):
        cost_models(make_job(micro_batch_size=[128]), PROFILE, LAMBDA)


def test_open_sizes_are_those_that_the_profile_knows():
    models = cost_models(make_job(micro_batch_size="auto"), PROFILE, LAMBDA)
    assert [model.profile.micro_batch_size for model in models] == [8]


def test_a_value_twice():
    with pytest.raises(ValueError, match="wire lists a value twice"):
        Limits(wire=["native", "native"])
