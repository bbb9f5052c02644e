"""Job, profile and platform to manifest: the same inputs always give the same bytes."""

import os
from pathlib import Path

from pydantic import ValidationError

from planner.cost_model import CostModel
from planner.forecast import Forecast
from planner.job import Job
from planner.milp import TIME_LIMIT_S, solve
from planner.platforms import Platform
from planner.problem import Problem, build_problem
from planner.profile_format import Profile
from planner.rounding import significant
from planner.schedule_choice import Choice, choose_schedule
from runtime.batches import total_iterations
from runtime.errors import UserInputError
from runtime.manifest import (
    SCHEMA_VERSION,
    Hashes,
    Manifest,
    PackageSpec,
    Prediction,
    Stage,
    StagePrediction,
    StageSynchronisation,
    describe_errors,
)
from runtime.source import source_sha256


def check_profile(job: Job, profile: Profile, source_digest: str) -> None:
    """Raises UserInputError when the profile was measured on something else than what the job trains."""
    training = job.training
    for key, measured, wanted in (
        ("model", profile.model.model_dump(), job.model.model_dump()),
        ("data", profile.data.model_dump(), job.data.model_dump()),
        ("training.loss", profile.loss, training.loss),
        ("training.optimizer.name", profile.optimizer.name, training.optimizer.name),
        ("training.dtype", profile.dtype, training.dtype),
        ("training.micro_batch_size", profile.micro_batch_size, training.micro_batch_size),
        ("the files in package.source", profile.source_sha256, source_digest),
    ):
        if measured != wanted:
            raise UserInputError(
                f"the profile does not belong to the job: {key} differs (measured: {measured}, job: {wanted}). "
                "Measure again with `funcpipe profile JOB`."
            )


def cost_model(job: Job, profile: Profile, platform: Platform) -> CostModel:
    """The cost model of a job's own profile."""
    return CostModel(
        profile=profile,
        platform=platform,
        training=job.training,
        architecture=job.package.architecture,
        wire=job.wire,
    )


def job_problem(job: Job, profile: Profile, platform: Platform) -> Problem:
    """The choice that a job and its profile pose. Raises UserInputError when a layer fits nowhere."""
    return build_problem(cost_model(job, profile, platform), job.objective, job.limits)


def _rounded(prediction: StagePrediction) -> StagePrediction:
    return StagePrediction(**{name: significant(value) for name, value in prediction.model_dump().items()})


def _stages(forecast: Forecast) -> list[Stage]:
    layers = forecast.model.profile.layers
    return [
        Stage(
            first_layer=costs.first,
            end_layer=costs.end,
            modules=[layer.module for layer in layers[costs.first : costs.end]],
            memory_mb=costs.memory_mb,
            replicas=costs.replicas,
            recompute=costs.recompute,
            synchronisation=StageSynchronisation(algorithm=costs.algorithm, piece_bytes=costs.piece_bytes),
            predicted=_rounded(forecast.stage_prediction(index)),
        )
        for index, costs in enumerate(forecast.stages)
    ]


def relative_source(source: Path, manifest_path: Path) -> str:
    """The source folder as a manifest at ``manifest_path`` names it: relative, '/'-separated."""
    return Path(os.path.relpath(source.resolve(), manifest_path.resolve().parent)).as_posix()


def make_plan(
    job: Job,
    job_path: Path,
    profile: Profile,
    platform: Platform,
    manifest_path: Path,
    time_limit_s: float = TIME_LIMIT_S,
) -> Manifest:
    """The best plan for a job, as the manifest to be written to ``manifest_path`` (which this does not do).

    Raises:
        UserInputError: the profile is of something else; a layer fits no memory size; no plan is within the limits;
            an iteration does not fit into a function's life.
        FuncpipeError: the solver's time limit passed before it had any plan.
    """
    source = job.source_folder(job_path)
    source_digest = source_sha256(source)
    check_profile(job, profile, source_digest)
    problem = job_problem(job, profile, platform)
    solution = solve(problem, time_limit_s=time_limit_s)
    assert solution is not None, "without an excluded plan there is a solution or an exception"
    choice = choose_schedule(problem, solution, profile.dataset, job.package.architecture, time_limit_s)
    return _manifest(job, profile, choice, relative_source(source, manifest_path), source_digest)


def _manifest(job: Job, profile: Profile, choice: Choice, source: str, source_digest: str) -> Manifest:
    training, forecast, model = job.training, choice.forecast, choice.forecast.model
    iterations = total_iterations(
        profile.dataset.train_samples, training.global_batch_size, training.epochs, training.iterations
    )
    segment = forecast.segment_plan(iterations, job.limits.max_segment_iterations, job.run.max_attempts)
    segments = -(-iterations // segment.iterations)
    usd, seconds = forecast.usd_per_iteration, forecast.iteration_s
    try:
        return Manifest(
            schema_version=SCHEMA_VERSION,
            name=job.name,
            model=job.model,
            data=job.data,
            dataset=profile.dataset,
            training=training,
            wire=job.wire,
            iterations=iterations,
            schedule=forecast.schedule,
            platform=model.platform.name,
            architecture=job.package.architecture,
            max_concurrency=job.limits.max_concurrency,
            stages=_stages(forecast),
            segment=segment,
            checkpoints_kept=job.run.checkpoints_kept,
            spending=forecast.spending(job.run.budget_usd),
            package=PackageSpec(source=source, requirements=job.package.requirements),
            on_destroy=job.package.on_destroy,
            evaluation=job.effective_evaluation,
            predicted=Prediction(
                iteration_s=significant(seconds),
                total_s=significant(forecast.total_s(iterations, segments)),
                usd_per_iteration=significant(usd),
                usd_total=significant(forecast.run_bill(iterations, segments).total_usd),
                objective=significant(choice.objective),
                gap=significant(choice.solution.gap),
            ),
            hashes=Hashes(job=job.sha256, profile=profile.sha256, source=source_digest),
        )
    except ValidationError as error:
        raise UserInputError(f"{describe_errors(error, 'the plan')}\nCorrect the job, then plan again.") from None
