"""Job, profile and platform to manifest: the same inputs always give the same bytes."""

import os
from pathlib import Path

from pydantic import ValidationError

from planner.aims import Quantity
from planner.bills import spending
from planner.choice import Asked, Run, choose, with_limits
from planner.forecast import Forecast
from planner.job import Job
from planner.platforms import Platform
from planner.profile_format import Profile
from planner.rounding import significant
from planner.solver import TIME_LIMIT_S
from runtime.documents import describe_errors
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
            ephemeral_storage_mb=costs.ephemeral_storage_mb,
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
    *,
    asked: Asked | None = None,
    max_concurrency: int | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Manifest:
    """The best plan for a job, as the manifest to be written to ``manifest_path`` (which this does not do).

    Args:
        asked: a deadline, a budget or what to optimise; without, the job's own objective decides.
        max_concurrency: instead of the job's.

    Raises:
        UserInputError: the profile is of something else; a layer fits no memory size; no plan is within the limits;
            an iteration does not fit into a function's life; nothing keeps what was asked.
        FuncpipeError: the solver's time limit passed before it had any plan.
    """
    source = job.source_folder(job_path)
    source_digest = source_sha256(source)
    check_profile(job, profile, source_digest)
    limited = job if max_concurrency is None else with_limits(job, max_concurrency=max_concurrency)
    chosen = choose(limited, profile, platform, asked or Asked(), time_limit_s)
    hashes = Hashes(job=job.sha256, profile=profile.sha256, source=source_digest)
    place = relative_source(source, manifest_path)
    return manifest_of(limited, chosen.run, chosen.gap, place, hashes, chosen.merging_loss, chosen.quantity)


def manifest_of(
    job: Job,
    run: Run,
    gap: float,
    source: str,
    hashes: Hashes,
    merging_loss: float | None = None,
    quantity: Quantity = Quantity.OBJECTIVE,
) -> Manifest:
    """The manifest of a forecast run. Raises UserInputError when it breaks a rule of manifests."""
    forecast, profile = run.forecast, run.forecast.model.profile
    usd, seconds = forecast.usd_per_iteration, forecast.iteration_s
    try:
        return Manifest(
            schema_version=SCHEMA_VERSION,
            name=job.name,
            model=job.model,
            data=job.data,
            dataset=profile.dataset,
            training=forecast.model.training,
            wire=forecast.model.wire,
            iterations=run.iterations,
            schedule=forecast.schedule,
            platform=forecast.model.platform.name,
            architecture=forecast.architecture,
            max_concurrency=job.limits.max_concurrency,
            stages=_stages(forecast),
            segment=run.segment,
            checkpoints_kept=job.run.checkpoints_kept,
            spending=spending(forecast, job.run.budget_usd),
            package=PackageSpec(source=source, requirements=job.package.requirements),
            on_destroy=job.package.on_destroy,
            evaluation=job.effective_evaluation,
            predicted=Prediction(
                iteration_s=significant(seconds),
                total_s=significant(run.total_s),
                usd_per_iteration=significant(usd),
                usd_total=significant(run.usd),
                objective=significant(job.objective.usd_weight * usd + job.objective.time_weight * seconds),
                gap=significant(gap),
                merging_loss=None if merging_loss is None else significant(merging_loss),
                quantity=quantity.value,
            ),
            hashes=hashes,
        )
    except ValidationError as error:
        raise UserInputError(f"{describe_errors(error, 'the plan')}\nCorrect the job, then plan again.") from None
