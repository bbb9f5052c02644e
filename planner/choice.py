"""A plan for what people ask: a deadline, a budget, the fastest, the cheapest, or a balance of both.

The frontier's plans are forecast as whole runs, start-up, checkpoints and requests included, and the best that keeps
what was asked is chosen among these forecasts. That nothing keeps it is an answer, too: by how much, and what would.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

from pydantic import ValidationError

from planner.aims import Aim, Quantity
from planner.bills import run_bill
from planner.forecast import Forecast
from planner.frontier import TOLERANCE, find_frontier
from planner.job import DEFAULT_MEMORY_MB, Job, Limits
from planner.platforms import PLATFORMS, Platform
from planner.problem import Problem
from planner.profile_format import Profile
from planner.refinement import refined
from planner.schedule_choice import choose_schedule
from planner.solver import TIME_LIMIT_S, Solution, solve
from planner.stage_costs import StageCosts
from planner.unmerged import merging_loss
from planner.variants import job_problems
from runtime.batches import total_iterations
from runtime.documents import describe_errors
from runtime.errors import UserInputError
from runtime.limits import LAMBDA_ACCOUNT_CONCURRENCY, LAMBDA_UNRESERVED_CONCURRENCY
from runtime.manifest import SegmentPlan


class Optimize(StrEnum):
    """What is best among the plans that keep deadline and budget."""

    TIME = "time"
    COST = "cost"
    BALANCED = "balanced"
    """Least product of time and USD: 1% slower is worth 1% cheaper."""


@dataclass(frozen=True)
class Asked:
    """Of the whole run, from the start of the first segment to the end of the last; None is no bound."""

    deadline_s: float | None = None
    budget_usd: float | None = None
    optimize: Optimize | None = None

    @property
    def anything(self) -> bool:
        return (self.deadline_s, self.budget_usd, self.optimize) != (None, None, None)

    @property
    def goal(self) -> Optimize:
        """Without a word on it: as cheap as the deadline allows, else as fast as the budget allows."""
        if self.optimize is not None:
            return self.optimize
        return Optimize.TIME if self.deadline_s is None else Optimize.COST

    def aim(self, run: "Run") -> Aim:
        """The same of an iteration by the closed form.

        What deadline and budget leave beside ``run``, by its forecast, is for its iterations, which are as much longer
        and dearer than by the closed form as those of ``run`` are.
        """
        solution, forecast = run.solution, run.forecast
        assert solution is not None, "a run of the search's"
        most_s = most_usd = inf
        if self.deadline_s is not None:
            left_s = (self.deadline_s - run.total_s) / run.iterations
            most_s = solution.iteration_s * (1 + left_s / forecast.iteration_s)
        if self.budget_usd is not None:
            left_usd = (self.budget_usd - run.usd) / run.iterations
            most_usd = solution.usd * (1 + left_usd / forecast.usd_per_iteration)
        return Aim.of(_QUANTITY[self.goal], most_s, most_usd)


_QUANTITY = {
    Optimize.TIME: Quantity.SECONDS,
    Optimize.COST: Quantity.USD,
    Optimize.BALANCED: Quantity.PRODUCT,
}


@dataclass(frozen=True)
class Run:
    """A plan as a whole run. Seconds and USD."""

    forecast: Forecast
    iterations: int
    segment: SegmentPlan
    total_s: float
    usd: float
    solution: Solution | None = field(default=None, compare=False, repr=False)
    """What it is the run of, where a search found that."""

    @property
    def stages(self) -> tuple[StageCosts, ...]:
        return self.forecast.stages

    @property
    def segments(self) -> int:
        return -(-self.iterations // self.segment.iterations)

    def keeps(self, asked: Asked) -> bool:
        return (asked.deadline_s is None or self.total_s <= asked.deadline_s) and (
            asked.budget_usd is None or self.usd <= asked.budget_usd
        )


_GAIN = TOLERANCE / 2
"""By so much, relative, moved cuts must better a plan of the frontier, which is known no better than its tolerance."""
_BETTER: dict[Optimize, Callable[[Run], tuple[float, float]]] = {
    Optimize.TIME: lambda run: (run.total_s, run.usd),
    Optimize.COST: lambda run: (run.usd, run.total_s),
    Optimize.BALANCED: lambda run: (run.usd * run.total_s, run.total_s),
}


def run_of(job: Job, forecast: Forecast) -> Run:
    """A plan's run. Raises UserInputError when not even one iteration fits into a function's life."""
    training = job.training
    iterations = total_iterations(
        forecast.dataset.train_samples, training.global_batch_size, training.epochs, training.iterations
    )
    forecast = forecast.over(iterations, job.limits.max_segment_iterations)
    segment = forecast.segment_plan(iterations, job.limits.max_segment_iterations, job.run.max_attempts)
    segments = -(-iterations // segment.iterations)
    usd = run_bill(forecast, iterations, segments, job.run.checkpoints_kept).total_usd
    return Run(forecast, iterations, segment, forecast.total_s(iterations, segments), usd)


def _scheduled(job: Job, problems: Sequence[Problem], solution: Solution) -> Run:
    """The run of a plan, under the schedule that is best for it."""
    choice = choose_schedule(problems, solution, solution.problem.model.profile.dataset)
    return replace(run_of(job, choice.forecast), solution=choice.solution)


@dataclass(frozen=True)
class Chosen:
    """A run, and how much better others may be at most (relative)."""

    run: Run
    gap: float
    """Of those between merged layers, by the objective; for what was asked, of those that were not looked at."""
    merging_loss: float
    """Of those between all layers, in ``quantity``, by the closed form; 0 where none were merged."""
    quantity: Quantity


@dataclass(frozen=True)
class Choices:
    """Runs from fast to cheap, none better than another in both; and how far the frontier behind them is proven."""

    runs: tuple[Run, ...]
    tolerance: float

    def best(self, asked: Asked) -> Run | None:
        """The best that keeps what was asked, or None."""
        keeping = [run for run in self.runs if run.keeps(asked)]
        return min(keeping, key=_BETTER[asked.goal], default=None)


def find_choices(job: Job, problems: Sequence[Problem], tolerance: float = TOLERANCE) -> Choices:
    """The frontier, forecast.

    Raises:
        UserInputError: no plan is within the limits, or an iteration of none fits into a function's life.
    """
    frontier = find_frontier(problems, tolerance)
    runs, misfit = [], None
    for point in frontier.points:
        try:
            found = Solution(point.problem, point.stages, point.iteration_s, point.usd, point.usd, 0.0)
            runs.append(_scheduled(job, problems, found))
        except UserInputError as error:
            misfit = error
    if not runs and misfit is not None:
        raise misfit
    kept: list[Run] = []
    for run in sorted(runs, key=_BETTER[Optimize.TIME]):
        if not kept or run.usd < kept[-1].usd:
            kept.append(run)
    return Choices(tuple(kept), frontier.tolerance)


def choose(job: Job, profile: Profile, platform: Platform, asked: Asked, time_limit_s: float = TIME_LIMIT_S) -> Chosen:
    """The best run that keeps what was asked, and how much better another may be.

    Where nothing was asked, the best by the job's own objective.

    Raises:
        UserInputError: no plan is within the job's limits; an iteration does not fit into a function's life; nothing
            keeps what was asked: the message has the shortfall and what would help, priced.
        FuncpipeError: the solver's time limit passed before it had any plan.
    """
    problems = job_problems(job, profile, platform)
    if not asked.anything:
        solution = solve(problems, time_limit_s=time_limit_s)
        assert solution is not None, "without an excluded plan there is a solution or an exception"
        run, aim = _scheduled(job, problems, refined(solution)), Aim(job.objective)
        assert run.solution is not None, "as scheduled"
        loss = merging_loss(problems, aim, run.solution.objective)
        gap = run.solution.gap
        return Chosen(run, min(gap, loss) if loss else gap, loss, aim.quantity)
    choices = find_choices(job, problems)
    best = choices.best(asked)
    if best is None:
        raise UserInputError(_shortfall(choices, asked) + _remedies(job, profile, platform, asked))
    run = _refined_run(job, problems, asked, best)
    aim = asked.aim(run)
    loss = merging_loss(problems, aim, _value(aim, run))
    return Chosen(run, min(1.0, choices.tolerance), loss, aim.quantity)  # a manifest's gap is finite


def _value(aim: Aim, run: Run) -> float:
    """Of what was asked, by the closed form."""
    assert run.solution is not None, "a run of the search's"
    return aim.value(run.solution.iteration_s, run.solution.usd)


def _refined_run(job: Job, problems: Sequence[Problem], asked: Asked, best: Run) -> Run:
    """A run that keeps what was asked with cuts between all layers; ``best`` where none is better by its forecast."""
    assert best.solution is not None, "a run of the search's"
    aim = asked.aim(best)
    moved = refined(replace(best.solution, objective=_value(aim, best)), aim, gain=_GAIN)
    try:
        run = _scheduled(job, problems, moved)
    except UserInputError:  # an iteration does not fit into a function's life
        return best
    return min(best, run, key=_BETTER[asked.goal]) if run.keeps(asked) else best


def duration_text(seconds: float) -> str:
    """'48 s', '3 min 20 s', '2 h 05 min'."""
    whole = round(seconds)
    if whole < 100:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _figures(run: Run) -> str:
    return f"{duration_text(run.total_s)}, {run.usd:.3g} USD"


def _shortfall(choices: Choices, asked: Asked) -> str:
    fastest, cheapest = choices.runs[0], choices.runs[-1]
    lines = []
    if asked.deadline_s is not None and fastest.total_s > asked.deadline_s:
        late = fastest.total_s - asked.deadline_s
        lines.append(
            f"no plan within the job's limits meets the deadline of {duration_text(asked.deadline_s)}: the fastest "
            f"takes {duration_text(late)} longer ({_figures(fastest)})."
        )
    if asked.budget_usd is not None and cheapest.usd > asked.budget_usd:
        lines.append(
            f"no plan within the job's limits stays within the budget of {asked.budget_usd:g} USD: the cheapest costs "
            f"{cheapest.usd - asked.budget_usd:.3g} USD more ({_figures(cheapest)})."
        )
    if not lines:
        in_time = choices.best(Asked(deadline_s=asked.deadline_s, optimize=Optimize.COST))
        affordable = choices.best(Asked(budget_usd=asked.budget_usd, optimize=Optimize.TIME))
        assert in_time is not None and affordable is not None, "each alone can be kept"
        lines.append(
            f"no plan within the job's limits meets the deadline of {duration_text(asked.deadline_s or 0.0)} and the "
            f"budget of {asked.budget_usd:g} USD: in that time the cheapest is {_figures(in_time)}; for that money the "
            f"fastest is {_figures(affordable)}."
        )
    return "\n".join(lines)


def _remedies(job: Job, profile: Profile, platform: Platform, asked: Asked) -> str:
    """What would keep what was asked, each tried and priced; else how near each comes."""
    enough, near = [], []
    for what, changed, other in _changes(job, platform):
        try:
            choices = find_choices(changed, job_problems(changed, profile, other))
        except UserInputError:
            continue
        best = choices.best(asked)
        if best is not None:
            enough.append(f"\n  {what}: {_figures(best)}")
        fastest, cheapest = choices.runs[0], choices.runs[-1]
        near.append(f"\n  {what}: fastest {_figures(fastest)}; cheapest {_figures(cheapest)}")
    if enough:
        return "\nAny of these would help:" + "".join(enough)
    return "\nNone of these alone would do:" + "".join(near) if near else ""


def with_limits(job: Job, **changes: object) -> Job:
    """The job with other limits. Raises UserInputError when they contradict each other."""
    try:
        limits = Limits.model_validate({**job.limits.model_dump(), **changes})
    except ValidationError as error:
        raise UserInputError(f"{describe_errors(error, 'limits')}\nCorrect the job, or ask for other limits.") from None
    return job.model_copy(update={"limits": limits})


def _changes(job: Job, platform: Platform) -> Iterator[tuple[str, Job, Platform]]:
    """Single changes of what a plan may use, those first that ask for least."""
    limits = job.limits
    sizes = sorted({*limits.memory_mb, *DEFAULT_MEMORY_MB})
    if sizes != sorted(limits.memory_mb):
        yield f"limits.memory_mb = {sizes}", with_limits(job, memory_mb=sizes), platform
    if limits.min_stages > 1 or limits.min_workers > 1:
        freer = with_limits(job, min_stages=1, min_workers=1)
        yield "limits.min_stages = 1, limits.min_workers = 1", freer, platform
    most = LAMBDA_ACCOUNT_CONCURRENCY - LAMBDA_UNRESERVED_CONCURRENCY
    replicas = min(2 * limits.max_replicas, most)
    workers = min(2 * limits.max_concurrency, most)
    if (replicas, workers) != (limits.max_replicas, limits.max_concurrency):
        what = f"limits.max_replicas = {replicas}, limits.max_concurrency = {workers}"
        yield what, with_limits(job, max_replicas=replicas, max_concurrency=workers), platform
    if platform.name == "aws-lambda":
        other = PLATFORMS["aws-lambda-scaled"]
        yield f"--platform {other.name} (a network quota that must be raised)", job, other
