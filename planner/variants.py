"""What a job leaves open besides stages: a problem for each micro-batch size, wire type, architecture and schedule."""

from collections.abc import Sequence
from dataclasses import replace

from planner.cost_model import CostModel
from planner.job import Job, Limits, Objective
from planner.platforms import Platform
from planner.problem import MAX_GROUPS, Problem, build_problem
from planner.profile_format import Profile
from runtime.errors import UserInputError
from runtime.schedule import ScheduleName
from runtime.spec import WireSpec


def _sizes(job: Job, profile: Profile) -> list[int]:
    """Micro-batch sizes to try, the job's own first; where it leaves them open powers of two that the profile knows.

    Raises:
        UserInputError: a size that the job lists and the profile does not know, or above the global batch size.
    """
    own, most = job.training.micro_batch_size, job.training.global_batch_size
    asked = job.limits.micro_batch_size
    if asked == "job":
        return [own]
    if asked == "auto":
        low, high = profile.size_range
        powers = [2**exponent for exponent in range(most.bit_length()) if low <= 2**exponent <= min(high, most)]
        return [own, *(size for size in powers if size != own)]
    if max(asked) > most:
        raise UserInputError(
            f"limits.micro_batch_size lists {max(asked)}, training.global_batch_size is {most}: a micro-batch is a "
            "part of a global batch. List smaller sizes."
        )
    return sorted(asked, key=lambda size: (size != own, size))


def cost_models(job: Job, profile: Profile, platform: Platform) -> list[CostModel]:
    """A cost model for each micro-batch size, wire type and architecture that the job allows, its own first.

    Raises:
        UserInputError: a micro-batch size that cannot be.
    """
    wires = [WireSpec(activations=wire, gradients=wire) for wire in job.limits.wire_types] or [job.wire]
    own = job.package.architecture
    architectures = sorted(job.limits.architectures or [own], key=lambda architecture: architecture is not own)
    return [
        CostModel(
            profile=profile.at(size),
            platform=platform,
            training=job.training.model_copy(update={"micro_batch_size": size}),
            architecture=architecture,
            wire=wire,
            ephemeral_storage_mb=job.package.ephemeral_storage_mb,
        )
        for size in _sizes(job, profile)
        for wire in wires
        for architecture in architectures
    ]


def cost_model(job: Job, profile: Profile, platform: Platform) -> CostModel:
    """The cost model of a job as it stands, whatever its limits leave open."""
    return CostModel(
        profile=profile,
        platform=platform,
        training=job.training,
        architecture=job.package.architecture,
        wire=job.wire,
        ephemeral_storage_mb=job.package.ephemeral_storage_mb,
    )


def job_problem(job: Job, profile: Profile, platform: Platform) -> Problem:
    """The choice that a job as it stands poses under GPipe. Raises UserInputError when a layer fits nowhere."""
    return build_problem(cost_model(job, profile, platform), job.objective, job.limits)


def job_problems(job: Job, profile: Profile, platform: Platform) -> list[Problem]:
    """The choices that a job poses: one for each cost model and schedule that its limits allow.

    Raises:
        UserInputError: a layer fits nowhere, whichever of them is taken.
    """
    return problems(cost_models(job, profile, platform), job.objective, job.limits)


def problems(
    models: Sequence[CostModel],
    objective: Objective,
    limits: Limits,
    groups: int = MAX_GROUPS,
    degrees: Sequence[int] | None = None,
) -> list[Problem]:
    """``build_problem`` for each model and each schedule allowed, as far as every layer fits somewhere.

    Raises:
        UserInputError: as that, where it is so for all of them.
    """
    found: list[Problem] = []
    refused: UserInputError | None = None
    for model in models:
        for schedule in limits.schedules:
            alike = next((problem for problem in found if _same_candidates(problem, model, schedule)), None)
            if alike is not None:
                found.append(replace(alike, model=model, schedule=schedule))
                continue
            try:
                found.append(build_problem(model, objective, limits, groups, degrees, schedule))
            except UserInputError as error:
                refused = refused or error
    if not found and refused is not None:
        raise refused
    return found


def _same_candidates(problem: Problem, model: CostModel, schedule: ScheduleName) -> bool:
    """Whether a problem's candidates are those of another model and schedule: neither price nor window is in them."""
    other = problem.model
    alike = (problem.schedule is ScheduleName.GPIPE) == (schedule is ScheduleName.GPIPE)
    alike = alike and other.tmp_worth_gb(other.ephemeral_storage_mb) == model.tmp_worth_gb(model.ephemeral_storage_mb)
    return alike and (other.profile, other.training, other.wire) == (model.profile, model.training, model.wire)
