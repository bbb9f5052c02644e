"""What a chosen plan will do: its iteration by simulation, and its segments. Its bills are in ``planner.bills``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from planner.cost_model import CostModel
from planner.platforms import PLATFORMS, Platform
from planner.profile_format import Profile
from planner.rounding import significant
from planner.sample_loads import sample_loads
from planner.simulate import ITERATIONS, Sharing, Simulation, simulate
from planner.stage_costs import StageCosts
from planner.stage_memory import StageMemory
from runtime.batches import micro_batches
from runtime.errors import UserInputError
from runtime.limits import LAMBDA_MAX_TIMEOUT_S, LAMBDA_RAMP_ENVIRONMENTS, LAMBDA_RAMP_S
from runtime.manifest import Architecture, DatasetFacts, Manifest, SegmentPlan, StagePrediction
from runtime.schedule import ScheduleName, kept_at_once

SAFETY = 2.0
"""A segment is planned to take at most the functions' life time over this: the prediction may be wrong by as much."""
USABLE_LIFE = 0.9
"""Of the life time; the rest is the worker's own reserve for the checkpoint."""
STALL_ITERATIONS = 20
SHORTEST_STALL_S = 60.0


def kept_micro_batches(
    schedule: ScheduleName, stages: Sequence[StageCosts], index: int, micro_batches: int
) -> int | None:
    """``CostModel.memory``'s argument ``kept`` for one of a plan's stages."""
    if schedule is ScheduleName.GPIPE:
        return None
    return kept_at_once(schedule, index, [costs.replicas for costs in stages], micro_batches)


@dataclass(frozen=True)
class Forecast:
    """One plan on one cost model. Seconds and USD."""

    model: CostModel
    stages: tuple[StageCosts, ...]
    dataset: DatasetFacts
    schedule: ScheduleName
    architecture: Architecture
    iterations: int | None = None
    """Of a segment, where that is known and matters."""

    def over(self, iterations: int, longest: int | None) -> "Forecast":
        """The same of a run of so many iterations, at most ``longest`` in a segment: on a machine where its length
        matters, since in each segment workers learn anew when objects come."""
        if not self.model.platform.timed_links:
            return self
        return replace(self, iterations=min(iterations, longest or iterations))

    @cached_property
    def simulation(self) -> Simulation:
        told_s = self.model.iteration_s(self.stages, self.schedule)
        found = self._simulated(told_s)
        # Workers are told what is predicted here, and look for objects by it at first.
        return self._simulated(found.typical_s(self.iterations)) if self.iterations is not None else found

    def _simulated(self, told_s: float) -> Simulation:
        training, platform = self.model.training, self.model.platform
        replayed = ITERATIONS if self.iterations is None else min(self.iterations, ITERATIONS)
        batches = micro_batches(0, self.dataset.train_samples, training.global_batch_size, training.micro_batch_size)
        measured = min(training.micro_batch_size, self.dataset.train_samples)
        return simulate(
            self.stages,
            schedule=self.schedule,
            shares=[batch.size / measured for batch in batches],
            get_latency_s=platform.get_latency_s,
            sharing=Sharing(
                cores=self.model.profile.host_cores if platform.shared_cores else None,
                timed_links=platform.timed_links,
                serial_requests=platform.serial_requests,
                puts_per_s=platform.puts_per_s,
                gets_per_s=platform.gets_per_s,
                delays=platform.delays,
            ),
            loads=sample_loads(self.model.profile, platform, self.stages, training.seed)
            if platform.timed_links
            else None,
            iteration_s=told_s,
            iterations=replayed,
        )

    @property
    def iteration_s(self) -> float:
        """Of an iteration in the steady state; on a machine where runs are short, of the run's median iteration."""
        if self.iterations is None:
            return self.simulation.iteration_s
        return self.simulation.typical_s(self.iterations)

    @property
    def workers(self) -> int:
        return sum(stage.replicas for stage in self.stages)

    def stage_usd(self, index: int) -> float:
        """USD per iteration of all replicas of a stage, GETs that find nothing included."""
        usd = self.model.usd([self.stages[index]], self.iteration_s)
        return usd + self.simulation.empty_gets[index] * self.model.platform.storage_prices.usd_per_get

    @property
    def usd_per_iteration(self) -> float:
        return sum(self.stage_usd(index) for index in range(len(self.stages)))

    def memory(self, index: int) -> StageMemory:
        """Peak memory of one worker of a stage."""
        costs = self.stages[index]
        kept = kept_micro_batches(self.schedule, self.stages, index, self.model.micro_batches)
        return self.model.memory(costs.first, costs.end, costs.replicas, costs.algorithm, costs.recompute, kept)

    def stage_prediction(self, index: int) -> StagePrediction:
        """The manifest's figures of a stage: its busiest replica's lanes."""
        costs = self.stages[index]
        forward, backward, count = costs.forward, costs.backward, costs.micro_batches
        return StagePrediction(
            compute_s=count * (forward.compute_s + backward.compute_s) + costs.step_s,
            upload_s=count * (forward.upload.pace_s + backward.upload.pace_s),
            download_s=count * (forward.download.pace_s + backward.download.pace_s),
            synchronise_s=costs.synchronise_s,
            memory_mb=self.memory(index).predicted_mb,
            usd_per_iteration=self.stage_usd(index),
        )

    @property
    def checkpoint_s(self) -> float:
        """The slowest stage's checkpoint on its way up."""
        slowest = 0.0
        for index, costs in enumerate(self.stages):
            memory = self.memory(index)
            bandwidth = self.model.platform.upload_bandwidth(costs.memory_mb)
            slowest = max(slowest, (memory.weights + memory.optimizer) / bandwidth)
        return slowest

    @property
    def segment_overhead_s(self) -> float:
        """What a segment takes besides its iterations: start-up of the whole gang, and the checkpoint down and up."""
        return self.model.platform.start_up_s + self._ramp_s + self._load_s + self.checkpoint_s

    @property
    def _load_s(self) -> float:
        """The slowest stage's checkpoint on its way down, over links that nothing has used yet."""
        platform = self.model.platform
        each = ((self.memory(index), costs.memory_mb) for index, costs in enumerate(self.stages))
        return max(platform.first_download_s(memory.weights + memory.optimizer, size) for memory, size in each)

    @property
    def _ramp_s(self) -> float:
        """From the first to the last start of a stage's replicas; the gang's first iteration awaits them all."""
        if not self.model.platform.ramp:
            return 0.0
        most = max(stage.replicas for stage in self.stages)
        return float((most - 1) // LAMBDA_RAMP_ENVIRONMENTS * LAMBDA_RAMP_S)

    def segment_plan(self, iterations: int, longest: int | None, attempts: int) -> SegmentPlan:
        """Segments of equal length that fit into a function's life: a prediction, since they end by the clock.

        Args:
            iterations: of the whole run.
            longest: the job's ``max_segment_iterations``.
            attempts: at most, at one segment.

        Raises:
            UserInputError: not even one iteration fits.
        """
        overhead_s, usable_s = self.segment_overhead_s, USABLE_LIFE * LAMBDA_MAX_TIMEOUT_S
        if overhead_s + self.iteration_s > usable_s:
            raise UserInputError(
                f"an iteration does not fit into a function's life: it is predicted to take {self.iteration_s:,.0f} s "
                f"and start-up and checkpoint {overhead_s:,.0f} s, a function has {usable_s:,.0f} s. "
                "What would help: a smaller training.global_batch_size, a larger objective.time_weight, larger "
                "limits.memory_mb, more limits.max_replicas or max_stages."
            )
        fitting = (
            int((LAMBDA_MAX_TIMEOUT_S / SAFETY - overhead_s) / self.iteration_s) if self.iteration_s else iterations
        )
        most = min(max(1, fitting), iterations, longest or iterations)
        segments = -(-iterations // most)
        stall_s = max(SHORTEST_STALL_S, STALL_ITERATIONS * self.iteration_s)
        return SegmentPlan(
            iterations=-(-iterations // segments),
            max_iterations=longest,
            timeout_s=LAMBDA_MAX_TIMEOUT_S,
            stall_timeout_s=float(round(min(stall_s, usable_s))),
            checkpoint_s=significant(self.checkpoint_s),
            attempts=attempts,
        )

    def total_s(self, iterations: int, segments: int) -> float:
        """Wall time of the run: its segments one after the other, each from an empty pipeline."""
        length = -(-iterations // segments)
        whole, rest = divmod(iterations, length)
        replayed_s = whole * self.simulation.time_s(length) + self.simulation.time_s(rest)
        return replayed_s + segments * self.segment_overhead_s


def check_same(what: str, planned: str, given: str) -> None:
    """Raises UserInputError when a plan was not made from this profile or job, by their digests."""
    if planned != given:
        raise UserInputError(
            f"the {what} is not the one that the plan was made from (SHA-256: {given}, in the manifest: {planned}). "
            "Name that one, or plan again with `funcpipe plan`."
        )


def forecast_of(manifest: Manifest, profile: Profile, platform: Platform | None = None) -> Forecast:
    """What the plan in a manifest will do.

    Args:
        platform: the plan's; None: the kit's of that name.

    Raises:
        UserInputError: it was made from another profile or for another platform.
    """
    if platform is None and manifest.platform not in PLATFORMS:
        raise UserInputError(
            f"the plan was made for platform {manifest.platform!r}, which is none of the kit's "
            f"({', '.join(PLATFORMS)}). Name its file with --platform."
        )
    if platform is not None and platform.name != manifest.platform:
        raise UserInputError(
            f"the platform is not the one that the plan was made for (given: {platform.name}, in the manifest: "
            f"{manifest.platform}). Name that one's file with --platform."
        )
    check_same("profile", manifest.hashes.profile, profile.sha256)
    if len(profile.layers) != manifest.layer_count:
        raise UserInputError(
            f"the manifest has {manifest.layer_count} layers, the profile {len(profile.layers)}. Plan again."
        )
    model = CostModel(
        profile=profile.at(manifest.training.micro_batch_size),
        platform=platform or PLATFORMS[manifest.platform],
        training=manifest.training,
        architecture=manifest.architecture,
        wire=manifest.wire,
    )
    costs = tuple(
        replace(
            model.stage(
                stage.first_layer,
                stage.end_layer,
                stage.memory_mb,
                stage.replicas,
                stage.synchronisation.algorithm,
                stage.recompute,
            ),
            ephemeral_storage_mb=stage.ephemeral_storage_mb,
            tmp_worth_gb=model.tmp_worth_gb(stage.ephemeral_storage_mb),
        )
        for stage in manifest.stages
    )
    forecast = Forecast(model, costs, manifest.dataset, manifest.schedule, manifest.architecture)
    return forecast.over(manifest.iterations, manifest.segment.max_iterations)
