"""Our plans beside FuncPipe's as published, and every other baseline, for the models of FuncPipe's paper.

All are planned on the same measured profile (``bench.profiles``) and costed by the same simulation, per iteration.
FuncPipe's own planner minimises a weighted sum of cost and time, so it has a plan for each of ``WEIGHTS``. Beside each
stand two of ours, from the frontier of our space: the fastest that costs no more, and the cheapest that takes no
longer. FuncPipe's own plans are in our space, too: these are looked at as well, also with the best way to sum, and all
plans under every schedule that their stages fit. ``bench.verdicts`` says which spaces ours are of, and when a case is
won.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from time import perf_counter

from bench.options import Commands, Progress, add_bench, at_least
from bench.profiles import MICRO_BATCH_SIZE, MODELS, SOURCE, job_of, measured_models, profile_of
from bench.report import Goal, Report
from bench.verdicts import PREFIXES, Case, Space, beside
from planner.baselines import Planned, find_baselines, planned, published_runs
from planner.choice import Run, run_of, with_limits
from planner.forecast import Forecast
from planner.frontier import Frontier, Point, find_frontier
from planner.job import Job, Objective
from planner.plan import check_profile
from planner.platforms import PLATFORMS, Platform, find_platform
from planner.problem import Problem
from planner.profile_format import Profile
from planner.stage_costs import StageCosts
from planner.variants import job_problems
from runtime.errors import UserInputError
from runtime.manifest import Architecture
from runtime.source import source_sha256
from runtime.spec import WireSpec, WireType
from runtime.synchronisation import Algorithm

BATCH_SIZES = (16, 64, 256)
MEMORY_MB = [1_024, 1_769, 2_560, 3_538, 5_120, 7_076, 8_192, 10_240]
MAX_REPLICAS, MAX_STAGES, MAX_CONCURRENCY = 16, 16, 256
WEIGHTS = (0.0, 1e-4, 3e-4, 1e-3, 1e-2)
"""USD for a second; with these, FuncPipe's plans are from its cheapest to its fastest."""
NEAREST = 2
"""Points of the frontier that are simulated on either side of each of FuncPipe's plans: the closed form, by which the
frontier is, ranks neighbours only roughly."""


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    models: tuple[str, ...] = field(default_factory=measured_models)
    batches: tuple[int, ...] = BATCH_SIZES
    platform: str = "aws-lambda"
    time_limit_s: float = 25.0
    """Of each of our two searches, per case."""


def _binding(run: Run) -> str:
    """The lane that is busy longest."""
    lanes = []
    for index in range(len(run.stages)):
        figures = run.forecast.stage_prediction(index)
        for lane in ("download", "compute", "upload", "synchronise"):
            lanes.append((getattr(figures, f"{lane}_s"), lane, index))
    seconds, lane, index = max(lanes)
    return f"{lane} of stage {index} {seconds:.3g} s"


def _way(run: Run) -> Planned:
    way, forecast = planned("ours", run), run.forecast
    model = forecast.model
    about = f"{model.wire.activations.value}, {model.architecture.value}, {forecast.schedule.value}"
    return replace(way, what=f"{about}: {way.what}; {_binding(run)}")


def _nearest(frontier: Frontier, theirs: Planned, price: float) -> list[Point]:
    """Points about where FuncPipe's plan is, on either side and beyond.

    Args:
        price: of a second, over the one that the frontier's points are priced by.
    """
    points = frontier.points
    dearer = sum(point.usd * price > theirs.iteration_usd for point in points)  # these come first
    slower = next((at for at, point in enumerate(points) if point.iteration_s > theirs.iteration_s), len(points))
    wanted = {*range(dearer - NEAREST, dearer + NEAREST), *range(slower - NEAREST, slower + NEAREST)}
    return [points[at] for at in sorted(wanted) if 0 <= at < len(points)]


def _seeds(problem: Problem, theirs: Run) -> Iterator[tuple[StageCosts, ...]]:
    """FuncPipe's plan in our space: as it is, and with each stage's fastest way to sum that fits."""
    model = problem.model
    for algorithms in ([Algorithm.PIPELINED], problem.limits.synchronisation):
        stages = []
        for costs in theirs.stages:
            shape = (costs.first, costs.end, costs.memory_mb, costs.replicas)
            fitting = [
                model.stage(*shape, algorithm)
                for algorithm in algorithms
                if model.memory(costs.first, costs.end, costs.replicas, algorithm).needed_mb <= costs.memory_mb
            ]
            stages.append(min(fitting, key=lambda each: each.closing_s))
        yield tuple(stages)


def _ours(job: Job, problems: Sequence[Problem], plans: Sequence[tuple[StageCosts, ...]]) -> Iterator[Planned]:
    """These stages as plans, each under every schedule that it fits; ``problems`` have one cost model."""
    for stages, problem in product(dict.fromkeys(plans), problems):
        if problem.admits(stages):
            model = problem.model
            forecast = Forecast(model, stages, model.profile.dataset, problem.schedule, model.architecture)
            try:
                yield _way(run_of(job, forecast))
            except UserInputError:  # an iteration outlives the functions
                continue


def compare(name: str, job: Job, profile: Profile, platform: Platform, time_limit_s: float) -> Case:
    """Plans one case. Raises UserInputError when neither FuncPipe nor we have a plan."""
    objectives = [Objective(usd_weight=1.0, time_weight=weight) for weight in WEIGHTS]
    theirs = {planned("funcpipe", run): run for run in published_runs(job, profile, platform, objectives)}
    if not theirs:
        raise UserInputError(f"{name}: FuncPipe as published has no plan within the limits")
    ours: dict[Space, list[Planned]] = {space: [] for space in Space}
    tolerance = 0.0
    for wire in WireType:
        wired = job.model_copy(update={"wire": WireSpec(activations=wire, gradients=wire)})
        own_job = with_limits(wired, architecture="auto")
        problems = job_problems(own_job, profile, platform)
        by_architecture = {
            each: [problem for problem in problems if problem.model.architecture is each] for each in Architecture
        }
        searched = by_architecture[Architecture.X86_64]
        frontier = find_frontier(searched, time_limit_s=time_limit_s)
        tolerance = max(tolerance, frontier.tolerance)
        for architecture, alike in by_architecture.items():
            price = alike[0].model.usd_per_gb_s / searched[0].model.usd_per_gb_s
            plans = [point.stages for way in theirs for point in _nearest(frontier, way, price)]
            plans += [stages for run in theirs.values() for stages in _seeds(alike[0], run)]
            found = list(_ours(own_job, alike, plans))
            ours[Space.FULL] += found
            if architecture is Architecture.X86_64:
                ours[Space.WIRE] += found
                ours[Space.EXACT] += found if wire is WireType.NATIVE else []
    told = [replace(way, what=f"{way.what}; {_binding(run)}") for way, run in theirs.items()]
    return Case(
        name,
        {space: tuple(beside(way, found) for way in told) for space, found in ours.items()},
        tuple(find_baselines(job, profile, platform)),
        tolerance,
    )


def run(setting: Setting, progress: Progress) -> Report:
    """Plans all cases."""
    platform, digest = find_platform(setting.platform), source_sha256(SOURCE)
    cases: list[Case] = []
    if missing := [model for model in MODELS if model not in setting.models]:
        progress(f"not compared: {', '.join(missing)}")
    for model in setting.models:
        profile = profile_of(model)
        for batch in setting.batches:
            job = job_of(
                model,
                batch,
                memory_mb=MEMORY_MB,
                max_replicas=MAX_REPLICAS,
                max_stages=MAX_STAGES,
                max_concurrency=MAX_CONCURRENCY,
            )
            check_profile(job, profile, digest)
            begin = perf_counter()
            case = compare(f"{model}_{batch}", job, profile, platform, setting.time_limit_s)
            progress("\n".join([*case.lines(), f"  ({perf_counter() - begin:.0f} s)"]))
            cases.append(case)
    whole = (setting.models, setting.batches) == (tuple(MODELS), BATCH_SIZES)
    return Report(
        bench="plans",
        figures={
            "cases": len(cases),
            **{f"{prefix}cases_won": sum(case.won(space) for case in cases) for space, prefix in PREFIXES.items()},
            **{f"{prefix}cases_lost": sum(case.lost(space) for case in cases) for space, prefix in PREFIXES.items()},
            **{name: value for case in cases for name, value in case.figures().items()},
        },
        goals={"cases_won": Goal(least=8), "cases_lost": Goal(0.0), "exact_cases_lost": Goal(0.0)} if whole else {},
        settings={
            **asdict(setting),
            "micro_batch_size": MICRO_BATCH_SIZE,
            "memory_mb": MEMORY_MB,
            "max_replicas": MAX_REPLICAS,
            "weights": list(WEIGHTS),
        },
    )


def add_command(commands: Commands) -> None:
    """``python -m bench plans``."""
    default = Setting()
    description = "our plans beside FuncPipe's as published and other baselines, on measured profiles"
    command = add_bench(commands, "plans", description, _run, 1)
    command.add_argument(
        "--models",
        nargs="+",
        choices=list(MODELS),
        default=list(default.models),
        metavar="MODEL",
        help=f"of {', '.join(MODELS)}; default: those that were measured",
    )
    command.add_argument(
        "--batches", nargs="+", type=at_least(MICRO_BATCH_SIZE, int), default=list(default.batches), metavar="N"
    )
    command.add_argument("--platform", choices=list(PLATFORMS), default=default.platform, help="default: %(default)s")
    command.add_argument(
        "--time-limit-s",
        type=at_least(1, float),
        default=default.time_limit_s,
        help="of each of our two searches, per case",
    )


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    return run(Setting(tuple(options.models), tuple(options.batches), options.platform, options.time_limit_s), progress)
