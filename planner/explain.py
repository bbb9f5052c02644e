"""Why a plan is as it is: lanes, memory by item, bill, and what the next best plan would have been."""

from dataclasses import asdict, dataclass

from planner.bills import iteration_bill, run_bill
from planner.candidates import Candidates
from planner.choice import with_limits
from planner.forecast import Forecast, check_same, forecast_of
from planner.job import Job
from planner.plan import check_profile
from planner.platforms import Platform
from planner.pricing import Bill
from planner.problem import Problem
from planner.profile_format import Profile
from planner.solver import solve
from planner.stage_costs import StageCosts
from planner.stage_memory import HEAD_ROOM, MIB
from planner.variants import job_problems
from runtime.manifest import Manifest
from runtime.schedule import kept_at_once


@dataclass(frozen=True)
class StageExplanation:
    """One stage. Seconds per iteration of its busiest replica, MB of one worker."""

    index: int
    layers: str
    modules: list[str]
    memory_mb: int
    replicas: int
    algorithm: str
    """How replicas sum their gradients; "" where there is one."""
    recompute: bool
    kept_micro_batches: int
    """Between forward and backward at once, on one worker."""
    lanes_s: dict[str, float]
    """download, compute, upload, synchronise."""
    binding: str
    """The lane that takes longest."""
    memory_items_mb: dict[str, float]
    predicted_mb: float
    needed_mb: float
    """Predicted and head-room."""
    usd_per_iteration: float


@dataclass(frozen=True)
class NextPlan:
    """The best of all other plans, as the solver's closed form sees it (which the simulation refines)."""

    stages: list[str]
    iteration_s: float
    usd_per_iteration: float
    objective: float
    chosen_objective: float
    """Of the chosen plan, in the same closed form, so that the two compare."""
    gap: float


@dataclass(frozen=True)
class Explanation:
    """Everything that ``funcpipe explain`` shows."""

    name: str
    platform: str
    schedule: str
    iteration_s: float
    iterations: int
    segments: int
    segment_overhead_s: float
    total_s: float
    head_room: float
    slowest_stage: int
    stages: list[StageExplanation]
    iteration_bill: Bill
    run_bill: Bill
    budget_usd: float | None
    attempt_at_most_usd: float
    """Of one attempt at a segment: by so much a run may pass its budget."""
    gap: float
    """As the manifest has it."""
    merging_loss: float | None
    """As the manifest has it."""
    quantity: str
    """Likewise: in which merging loses."""
    next_best: NextPlan | None
    next_best_note: str

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        plain = {**asdict(self), "iteration_bill": self.iteration_bill.to_dict(), "run_bill": self.run_bill.to_dict()}
        return plain


def _label(costs: StageCosts) -> str:
    last = costs.end - 1
    layers = f"layer {last}" if last == costs.first else f"layers {costs.first}-{last}"
    again = ", recomputed" if costs.recompute else ""
    return f"{layers}, {costs.memory_mb} MB x {costs.replicas}{again}"


def _stage(forecast: Forecast, manifest: Manifest, index: int) -> StageExplanation:
    stage = manifest.stages[index]
    memory = forecast.memory(index)
    predicted = forecast.stage_prediction(index)
    lanes = {
        "download": predicted.download_s,
        "compute": predicted.compute_s,
        "upload": predicted.upload_s,
        "synchronise": predicted.synchronise_s,
    }
    return StageExplanation(
        index=index,
        layers=stage.layers_label,
        modules=list(stage.modules),
        memory_mb=stage.memory_mb,
        replicas=stage.replicas,
        algorithm=stage.synchronisation.algorithm.value if stage.replicas > 1 else "",
        recompute=stage.recompute,
        kept_micro_batches=kept_at_once(
            manifest.schedule, index, [each.replicas for each in manifest.stages], forecast.model.micro_batches
        ),
        lanes_s=lanes,
        binding=max(lanes, key=lambda lane: lanes[lane]),
        memory_items_mb={item: size / MIB for item, size in vars(memory).items()},
        predicted_mb=memory.predicted_mb,
        needed_mb=memory.needed_mb,
        usd_per_iteration=predicted.usd_per_iteration,
    )


def _next_best(job: Job, profile: Profile, manifest: Manifest, forecast: Forecast) -> NextPlan | None:
    limited = with_limits(job, max_concurrency=manifest.max_concurrency)  # the plan may have been made with another
    chosen = forecast.stages
    nothing = Candidates.none(forecast.model)
    problem = Problem(forecast.model, limited.objective, limited.limits, (), nothing, manifest.schedule)
    other = solve(job_problems(limited, profile, forecast.model.platform), excluded=chosen)
    if other is None:
        return None
    return NextPlan(
        stages=[_label(costs) for costs in other.stages],
        iteration_s=other.iteration_s,
        usd_per_iteration=other.usd,
        objective=other.objective,
        chosen_objective=problem.value(chosen, problem.iteration_s(chosen)),
        gap=other.gap,
    )


def explain(
    manifest: Manifest, profile: Profile, job: Job | None = None, platform: Platform | None = None
) -> Explanation:
    """The account of a plan; with its job also the next best plan, which takes as long as planning.

    Args:
        platform: the plan's, where that is not one of the kit's.

    Raises:
        UserInputError: the profile, the job or the platform is not the one that the plan was made from.
    """
    if job is not None:
        check_same("job", manifest.hashes.job, job.sha256)
        check_profile(job, profile, manifest.hashes.source)
    forecast = forecast_of(manifest, profile, platform)
    stages = [_stage(forecast, manifest, index) for index in range(len(forecast.stages))]
    next_best, note = None, "the next best plan is known only with the job file: pass --job"
    if job is not None:
        next_best = _next_best(job, profile, manifest, forecast)
        note = "best of all other plans, both judged by the closed form" if next_best else "no other plan is possible"
    return Explanation(
        name=manifest.name,
        platform=manifest.platform,
        schedule=manifest.schedule.value,
        iteration_s=forecast.iteration_s,
        iterations=manifest.iterations,
        segments=manifest.segments,
        segment_overhead_s=forecast.segment_overhead_s,
        total_s=forecast.total_s(manifest.iterations, manifest.segments),
        head_room=HEAD_ROOM,
        slowest_stage=max(range(len(stages)), key=lambda index: max(stages[index].lanes_s.values())),
        stages=stages,
        iteration_bill=iteration_bill(forecast),
        run_bill=run_bill(forecast, manifest.iterations, manifest.segments, manifest.checkpoints_kept),
        budget_usd=manifest.spending.budget_usd,
        attempt_at_most_usd=manifest.spending.segment_at_most_usd,
        gap=manifest.predicted.gap,
        merging_loss=manifest.predicted.merging_loss,
        quantity=manifest.predicted.quantity,
        next_best=next_best,
        next_best_note=note,
    )
