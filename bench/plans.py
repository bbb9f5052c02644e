"""Our plans beside FuncPipe's as published, and every other baseline, for the models of FuncPipe's paper.

All are planned on the same measured profile (``bench.profiles``) and costed by the same simulation, per iteration.
FuncPipe's own planner minimises a weighted sum of cost and time, so it has a plan for each of ``WEIGHTS``. Beside each
stand two of ours, from the frontier of our space: the fastest that costs no more, and the cheapest that takes no
longer. FuncPipe's own plans are in our space, too: these are looked at as well, also with the best way to sum, and all
plans under every schedule that their stages fit. A case's figures are those beside FuncPipe's balanced plan: of its
plans the one of the least product of time and cost. A case counts as lost where beside any of FuncPipe's plans ours is
worse.

Ours are of three spaces, each a part of the next (``Space``), as not all that a planner may choose leaves the training
as it is.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import product
from time import perf_counter

from bench.options import Commands, Progress, add_bench, at_least
from bench.profiles import MICRO_BATCH_SIZE, MODELS, SOURCE, job_of, measured_models, profile_of
from bench.report import Goal, Report
from planner.baselines import Impossible, Planned, find_baselines, planned, published_runs
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
FASTER, CHEAPER = 1.3, 0.75
"""A case is won by so many times the speed at no more cost, or by such a part of the cost at no more time."""
NEAREST = 2
"""Points of the frontier that are simulated on either side of each of FuncPipe's plans: the closed form, by which the
frontier is, ranks neighbours only roughly."""


class Space(StrEnum):
    """What ours may choose besides cuts, memory sizes, replicas, recomputation, summation and schedule."""

    EXACT = "exact"
    """Nothing: the training is FuncPipe's, bit for bit."""
    WIRE = "wire"
    """Also what travels as bfloat16: half as many bytes, each number rounded."""
    FULL = "full"
    """Also arm64: the price of a second is a fifth less, and layers are taken to run as fast."""


_OTHER = {Space.EXACT: "exact_", Space.WIRE: "wire_", Space.FULL: ""}
"""Prefixes of figures: a case is judged by the full space."""


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    models: tuple[str, ...] = field(default_factory=measured_models)
    batches: tuple[int, ...] = BATCH_SIZES
    platform: str = "aws-lambda"
    time_limit_s: float = 25.0
    """Of each of our two searches, per case."""


@dataclass(frozen=True)
class Beside:
    """Ours beside one plan of FuncPipe's."""

    theirs: Planned
    fastest: Planned | None
    """Of ours that cost no more; None: each costs more."""
    cheapest: Planned | None
    """Of ours that take no longer."""
    worse: float
    """The least over ours of time or cost over theirs, whichever is more."""

    @property
    def lost(self) -> bool:
        """Whether none of ours is as fast for no more; both figures then are of the one that comes nearest."""
        return self.worse > 1

    @property
    def speedup(self) -> float:
        if self.lost or self.fastest is None:
            return 1 / self.worse
        return self.theirs.iteration_s / self.fastest.iteration_s

    @property
    def cost_ratio(self) -> float:
        if self.lost or self.cheapest is None:
            return self.worse
        return self.cheapest.iteration_usd / self.theirs.iteration_usd

    @property
    def won(self) -> bool:
        return self.speedup >= FASTER or self.cost_ratio <= CHEAPER


def beside(theirs: Planned, ours: Sequence[Planned]) -> Beside:
    """Picks of ours; there must be at least one."""
    affordable = [way for way in ours if way.iteration_usd <= theirs.iteration_usd]
    in_time = [way for way in ours if way.iteration_s <= theirs.iteration_s]
    return Beside(
        theirs,
        min(affordable, key=lambda way: (way.iteration_s, way.iteration_usd), default=None),
        min(in_time, key=lambda way: (way.iteration_usd, way.iteration_s), default=None),
        min(max(w.iteration_s / theirs.iteration_s, w.iteration_usd / theirs.iteration_usd) for w in ours),
    )


@dataclass(frozen=True)
class Case:
    """One model at one global batch size."""

    name: str
    published: Mapping[Space, tuple[Beside, ...]]
    """Beside each of FuncPipe's plans, those that differ, in the same order for each space."""
    baselines: tuple[Planned | Impossible, ...]
    tolerance: float
    """Proven of our frontiers, the worse one; infinite where nothing was."""

    def balanced(self, space: Space = Space.FULL) -> Beside:
        return min(self.published[space], key=lambda each: each.theirs.iteration_s * each.theirs.iteration_usd)

    def lost(self, space: Space = Space.FULL) -> bool:
        return any(each.lost for each in self.published[space])

    def won(self, space: Space = Space.FULL) -> bool:
        return self.balanced(space).won and not self.lost(space)

    def figures(self) -> dict[str, float]:
        """By name, of the report."""
        theirs = self.balanced().theirs
        found: dict[str, float] = {
            "published_plans": len(self.published[Space.FULL]),
            "gap": min(1.0, self.tolerance),
            "funcpipe_s": theirs.iteration_s,
            "funcpipe_usd": theirs.iteration_usd,
        }
        for space, prefix in _OTHER.items():
            ours, every = self.balanced(space), self.published[space]
            found |= {
                f"{prefix}speedup": ours.speedup,
                f"{prefix}cost_ratio": ours.cost_ratio,
                f"{prefix}least_speedup": min(each.speedup for each in every),
                f"{prefix}published_plans_beaten": sum(each.won for each in every),
            }
            for name, way in (("fastest", ours.fastest), ("cheapest", ours.cheapest)):
                if way is not None:
                    found |= {
                        f"{prefix}ours_{name}_s": way.iteration_s,
                        f"{prefix}ours_{name}_usd": way.iteration_usd,
                    }
        for way in self.baselines:
            if isinstance(way, Planned) and way.name != "funcpipe":
                key = way.name.replace("-", "_").replace(".", "_")
                found |= {f"{key}_s": way.iteration_s, f"{key}_usd": way.iteration_usd}
        return {f"{self.name}_{name}": value for name, value in found.items()}

    def lines(self) -> Iterator[str]:
        """For people."""
        proven = f"proven within {self.tolerance:.0%}" if self.tolerance <= 1 else "frontiers not proven"
        told = []
        for space in Space:
            ours = self.balanced(space)
            won = "LOST beside one of the plans" if self.lost(space) else "won" if self.won(space) else "not won"
            told.append(f"{space.value} {ours.speedup:.2f} x as fast, or {ours.cost_ratio:.2f} x the cost: {won}")
        yield f"{self.name}: {'; '.join(told)}; {proven}"
        for at, one in enumerate(self.published[Space.FULL]):
            yield f" {'*' if one is self.balanced() else ' '}funcpipe  {_text(one.theirs)}"
            for space in Space:
                ours = self.published[space][at]
                yield f"    {space.value:5} fastest for no more: {_text(ours.fastest)}"
                yield f"    {space.value:5} cheapest as fast:    {_text(ours.cheapest)}"
        for way in self.baselines:
            if way.name != "funcpipe":
                yield f"  {way.name}: {f'impossible: {way.why}' if isinstance(way, Impossible) else _text(way)}"


def _text(way: Planned | None) -> str:
    return "none" if way is None else f"{way.iteration_s:.3g} s, {way.iteration_usd:.3g} USD: {way.what}"


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
            **{f"{prefix}cases_won": sum(case.won(space) for case in cases) for space, prefix in _OTHER.items()},
            **{f"{prefix}cases_lost": sum(case.lost(space) for case in cases) for space, prefix in _OTHER.items()},
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
