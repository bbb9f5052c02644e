"""A plan's timelines: in units, where every pass takes one, or as it is predicted from its profile."""

from planner.forecast import forecast_of
from planner.platforms import Platform
from planner.profile_format import Profile
from runtime.manifest import Manifest
from runtime.records import TimelineEvent
from runtime.schedule import Instruction, Lane, Op, gang_programs
from runtime.schedule_check import Worker, find_faults, finish_times


def full_batch(manifest: Manifest) -> int:
    """Micro-batches of a global batch that is not short."""
    training = manifest.training
    samples = min(training.global_batch_size, manifest.dataset.train_samples)
    return -(-samples // training.micro_batch_size)


def faults(manifest: Manifest) -> list[str]:
    """What ``runtime.schedule_check`` finds in the plan's programs; nothing in any plan of ours."""
    replicas = [stage.replicas for stage in manifest.stages]
    return find_faults(gang_programs(manifest.schedule, replicas, full_batch(manifest)))


def unit_timeline(manifest: Manifest) -> list[TimelineEvent]:
    """One iteration if every pass, averaging and step took one unit, a recomputed backward two, and transfers none."""
    programs = gang_programs(manifest.schedule, [stage.replicas for stage in manifest.stages], full_batch(manifest))

    def units(worker: Worker, instruction: Instruction) -> float:
        if instruction.op.lane is not Lane.COMPUTE:
            return 0.0
        return 2.0 if instruction.op is Op.BACKWARD and manifest.stages[worker[0]].recompute else 1.0

    return [
        TimelineEvent(
            stage=worker[0],
            replica=worker[1],
            iteration=0,
            lane=Lane.COMPUTE,
            instruction=str(programs[worker][number]),
            start_s=begin,
            end_s=end,
        )
        for (worker, number), (begin, end) in finish_times(programs, units).items()
        if end > begin
    ]


def predicted_timeline(manifest: Manifest, profile: Profile, platform: Platform | None = None) -> list[TimelineEvent]:
    """The first iteration of the simulation.

    Args:
        platform: the plan's, where that is not one of the kit's.

    Raises:
        UserInputError: the plan was made from another profile or for another platform.
    """
    events = forecast_of(manifest, profile, platform).simulation.events
    return [event for event in events if event.iteration == 0]
