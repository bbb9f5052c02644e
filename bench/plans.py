"""Our plans beside FuncPipe's as published, and every other baseline, for the models of FuncPipe's paper.

All are planned on the same measured profile (``bench.profiles``) and costed by the same simulation, per iteration.
FuncPipe's own planner minimises a weighted sum of cost and time, so it has a plan for each of ``WEIGHTS``. Beside each
stand two of ours, from the frontier of our space: the fastest that costs no more, and the cheapest that takes no
longer. A case's figures are those beside FuncPipe's balanced plan: of its plans the one of the least product of time
and cost. A case counts as lost where beside any of FuncPipe's plans ours is worse.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter

from bench.options import Commands, Progress, add_bench, at_least
from bench.profiles import MICRO_BATCH_SIZE, MODELS, SOURCE, job_of, measured_models, profile_of
from bench.report import Goal, Report
from planner.baselines import Impossible, Planned, find_baselines, planned, published_plans
from planner.choice import run_of
from planner.frontier import Frontier, Point, find_frontier
from planner.job import Job, Objective
from planner.plan import check_profile
from planner.platforms import PLATFORMS, Platform, find_platform
from planner.problem import Problem
from planner.profile_format import Profile
from planner.schedule_choice import choose_schedule
from planner.solver import Solution
from planner.variants import job_problems
from runtime.errors import UserInputError
from runtime.source import source_sha256
from runtime.spec import WireSpec, WireType

BATCH_SIZES = (16, 64, 256)
MEMORY_MB = [1_024, 1_769, 2_560, 3_538, 5_120, 7_076, 8_192, 10_240]
MAX_REPLICAS, MAX_STAGES, MAX_CONCURRENCY = 16, 16, 256
WEIGHTS = (0.0, 1e-4, 3e-4, 1e-3, 1e-2)
"""USD for a second; with these, FuncPipe's plans are from its cheapest to its fastest."""
FASTER, CHEAPER = 1.3, 0.75
"""A case is won by so many times the speed at no more cost, or by such a part of the cost at no more time."""
NEAREST = 3
"""Points of the frontier that are simulated on either side of each of FuncPipe's plans: the closed form, by which the
frontier is, ranks neighbours only roughly."""


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    models: tuple[str, ...] = field(default_factory=measured_models)
    batches: tuple[int, ...] = BATCH_SIZES
    platform: str = "aws-lambda"
    wire: WireType = WireType.NATIVE
    """Of ours between workers; FuncPipe's is native."""
    time_limit_s: float = 40.0
    """Of our search, per case."""


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
    published: tuple[Beside, ...]
    """Beside each of FuncPipe's plans, those that differ."""
    baselines: tuple[Planned | Impossible, ...]
    tolerance: float
    """Proven of our frontier; infinite where nothing was."""

    @property
    def balanced(self) -> Beside:
        return min(self.published, key=lambda each: each.theirs.iteration_s * each.theirs.iteration_usd)

    @property
    def lost(self) -> bool:
        return any(each.lost for each in self.published)

    def figures(self) -> dict[str, float]:
        """By name, of the report."""
        found = {
            "speedup": self.balanced.speedup,
            "cost_ratio": self.balanced.cost_ratio,
            "least_speedup": min(each.speedup for each in self.published),
            "published_plans": len(self.published),
            "published_plans_beaten": sum(each.won for each in self.published),
            "gap": min(1.0, self.tolerance),
        }
        for name, way in (("fastest", self.balanced.fastest), ("cheapest", self.balanced.cheapest)):
            if way is not None:
                found |= {f"ours_{name}_s": way.iteration_s, f"ours_{name}_usd": way.iteration_usd}
        found |= {"funcpipe_s": self.balanced.theirs.iteration_s, "funcpipe_usd": self.balanced.theirs.iteration_usd}
        for way in self.baselines:
            if isinstance(way, Planned) and way.name != "funcpipe":
                key = way.name.replace("-", "_").replace(".", "_")
                found |= {f"{key}_s": way.iteration_s, f"{key}_usd": way.iteration_usd}
        return {f"{self.name}_{name}": value for name, value in found.items()}

    def lines(self) -> Iterator[str]:
        """For people."""
        proven = f"proven within {self.tolerance:.0%}" if self.tolerance <= 1 else "frontier not proven"
        won = "won" if self.balanced.won else "not won"
        yield f"{self.name}: {self.balanced.speedup:.2f} x as fast, or {self.balanced.cost_ratio:.2f} x the cost: " + (
            f"{'LOST beside one of the plans' if self.lost else won}; {proven}"
        )
        for each in self.published:
            mark = "*" if each is self.balanced else " "
            yield f" {mark}funcpipe  {_text(each.theirs)}"
            yield f"    fastest for no more: {_text(each.fastest)}"
            yield f"    cheapest as fast:    {_text(each.cheapest)}"
        for way in self.baselines:
            if way.name != "funcpipe":
                yield f"  {way.name}: {f'impossible: {way.why}' if isinstance(way, Impossible) else _text(way)}"


def _text(way: Planned | None) -> str:
    return "none" if way is None else f"{way.iteration_s:.3g} s, {way.iteration_usd:.3g} USD: {way.what}"


def _nearest(frontier: Frontier, theirs: Planned) -> list[Point]:
    """Points about where FuncPipe's plan is, on either side and beyond."""
    points = frontier.points
    dearer = sum(point.usd > theirs.iteration_usd for point in points)  # these come first
    slower = next((at for at, point in enumerate(points) if point.iteration_s > theirs.iteration_s), len(points))
    wanted = {*range(dearer - NEAREST, dearer + NEAREST), *range(slower - NEAREST, slower + NEAREST)}
    return [points[at] for at in sorted(wanted) if 0 <= at < len(points)]


def _ours(job: Job, problems: Sequence[Problem], points: Iterable[Point]) -> Iterator[Planned]:
    """These points as plans, each with its best schedule."""
    for point in points:
        found = Solution(point.problem, point.stages, point.iteration_s, point.usd, 0.0, 0.0)
        choice = choose_schedule(problems, found, point.problem.model.profile.dataset)
        try:
            run = run_of(job, choice.forecast)
        except UserInputError:  # an iteration outlives the functions
            continue
        way = planned("ours", run)
        yield Planned(**{**asdict(way), "what": f"{choice.forecast.schedule.value}: {way.what}"})


def compare(
    name: str,
    job: Job,
    profile: Profile,
    platform: Platform,
    time_limit_s: float,
    wire: WireType = WireType.NATIVE,
) -> Case:
    """Plans one case; ``wire`` is of ours alone. Raises UserInputError when neither FuncPipe nor we have a plan."""
    objectives = [Objective(usd_weight=1.0, time_weight=weight) for weight in WEIGHTS]
    theirs = list(dict.fromkeys(published_plans(job, profile, platform, objectives)))
    found = [way for way in theirs if isinstance(way, Planned)]
    if not found:
        raise UserInputError(f"{name}: FuncPipe as published has no plan within the limits")
    own_job = job.model_copy(update={"wire": WireSpec(activations=wire, gradients=wire)})
    problems = job_problems(own_job, profile, platform)
    frontier = find_frontier(problems, time_limit_s=time_limit_s)
    points = {point.stages: point for way in found for point in _nearest(frontier, way)}.values()
    ours = list(_ours(own_job, problems, points))
    if not ours:
        raise UserInputError(f"{name}: an iteration of none of our plans fits into a function's life")
    return Case(
        name,
        tuple(beside(way, ours) for way in found),
        tuple(find_baselines(job, profile, platform)),
        frontier.tolerance,
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
            case = compare(f"{model}_{batch}", job, profile, platform, setting.time_limit_s, setting.wire)
            progress("\n".join([*case.lines(), f"  ({perf_counter() - begin:.0f} s)"]))
            cases.append(case)
    exact = setting.wire is WireType.NATIVE
    whole = exact and (setting.models, setting.batches) == (tuple(MODELS), BATCH_SIZES)
    return Report(
        bench="plans",
        figures={
            "cases": len(cases),
            "cases_won": sum(case.balanced.won and not case.lost for case in cases),
            "cases_lost": sum(case.lost for case in cases),
            **{name: value for case in cases for name, value in case.figures().items()},
        },
        goals={"cases_won": Goal(least=8), "cases_lost": Goal(0.0)} if whole else {},
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
    command.add_argument("--wire", type=WireType, choices=list(WireType), default=default.wire, help="of ours alone")
    command.add_argument(
        "--time-limit-s", type=at_least(1, float), default=default.time_limit_s, help="of our search, per case"
    )


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    setting = Setting(
        tuple(options.models), tuple(options.batches), options.platform, options.wire, options.time_limit_s
    )
    return run(setting, progress)
