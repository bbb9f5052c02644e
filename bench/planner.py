"""How long the planner takes: proving an optimum, finding a frontier, simulating a large gang.

The models are made up (``bench.kinds``), from fixed seeds, so that figures of different days compare. Two spaces:

- FuncPipe's: GPipe, pipelined scatter-reduce, one of 8 memory sizes per stage, one of the degrees 1, 2, 4, 8, 16. Here
  each stage may have its own degree, which FuncPipe's one for all is a case of;
- the full one: besides, recomputation and summation per stage, micro-batch size, wire type, architecture, schedule.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from itertools import product
from math import isfinite
from time import perf_counter

from bench.kinds import KINDS, Kind, drawn_model
from bench.made_up import DEGREES, ITERATIONS, MEMORY_MB, PUBLISHED, made_up_limits
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from planner.cost_model import CostModel
from planner.frontier import TOLERANCE, find_frontier
from planner.job import Objective
from planner.problem import Problem, build_problem
from planner.simulate import Sharing, simulate
from planner.solver import solve
from planner.variants import problems
from runtime.limits import S3_GETS_PER_S, S3_PUTS_PER_S
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from runtime.spec import WireSpec, WireType

SIZES = [2, 4, 8]
"""Micro-batch sizes of the full space."""
FIRST_S = 30.0
"""Time for a plan that is nearly the best, the problems' building included."""
STAGES, REPLICAS = 10, 100
"""Of the simulated gang."""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    layers: int = 30
    repeats: int = 1
    """Models of each kind, each of other random layers."""
    models: tuple[str, ...] = ("even",)
    """Of ``KINDS``."""
    micro_batches: int | None = None
    """None: as many as the kind has."""

    def kind(self, name: str) -> Kind:
        kind = KINDS[name]
        return kind if self.micro_batches is None else replace(kind, micro_batches=self.micro_batches)


def _published(kind: Kind, seed: int, setting: Setting) -> Problem:
    model = drawn_model(kind, seed, setting.layers)
    limits = made_up_limits(setting.layers, **{**PUBLISHED, **kind.limits})
    return build_problem(model, Objective(), limits, groups=setting.layers, degrees=_degrees([model]))


def _everything(kind: Kind, seed: int, setting: Setting) -> list[Problem]:
    limits = made_up_limits(setting.layers, **kind.limits)
    found = []
    for size in SIZES:
        models = [
            drawn_model(kind, seed, setting.layers, size, WireSpec(activations=wire, gradients=wire), architecture)
            for wire in WireType
            for architecture in Architecture
        ]
        found += problems(models, Objective(), limits, setting.layers, _degrees(models))
    return found


def _degrees(models: Sequence[CostModel]) -> list[int]:
    """No replica is without a micro-batch."""
    return [degree for degree in DEGREES if degree <= models[0].micro_batches]


@dataclass(frozen=True)
class _Full:
    """Of the full space: seconds to the proof, its gap, and how much dearer the plan is that is met in ``FIRST_S``."""

    seconds: float
    gap: float
    first_loss: float
    problems: int

    def or_worse(self, other: "_Full") -> "_Full":
        """The worse of each figure."""
        return _Full(*(max(pair) for pair in zip(astuple(self), astuple(other), strict=True)))


def _full(name: str, seed: int, setting: Setting, progress: Progress) -> _Full:
    begin = perf_counter()
    space = _everything(setting.kind(name), seed, setting)
    build_s = perf_counter() - begin
    worst = _Full(0.0, 0.0, 0.0, len(space))
    for objective in setting.kind(name).full_objectives:
        asked = [replace(problem, objective=objective) for problem in space]
        first = solve(asked, time_limit_s=max(0.0, FIRST_S - build_s))
        begin = perf_counter()
        found = solve(asked)
        seconds = build_s + perf_counter() - begin
        assert first is not None and found is not None, "nothing is excluded"
        loss = first.objective / found.objective - 1
        progress(
            f"{name} {seed}, full space of {len(space)} problems, which take {build_s:.1f} s to build, "
            f"{objective.time_weight:g} USD/s: {seconds:.1f} s, gap {found.gap:g}; "
            f"after {FIRST_S:g} s within {loss:.3%}"
        )
        worst = worst.or_worse(_Full(seconds, found.gap, loss, len(space)))
    return worst


def _simulate() -> float:
    """Seconds for a thousand workers over a thousand iterations, under S3's rates."""
    model = drawn_model(replace(KINDS["even"], micro_batches=4 * REPLICAS), 0, STAGES)
    plan = [model.stage(stage, stage + 1, 1_769, REPLICAS) for stage in range(STAGES)]
    begin = perf_counter()
    found = simulate(
        plan,
        schedule=ScheduleName.GPIPE,
        shares=[1.0] * (4 * REPLICAS),
        get_latency_s=model.platform.get_latency_s,
        sharing=Sharing(puts_per_s=S3_PUTS_PER_S, gets_per_s=S3_GETS_PER_S),
        iterations=ITERATIONS,
    )
    assert len(found.replay.finished) == ITERATIONS
    return perf_counter() - begin


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; figures are those of the worst model and objective."""
    optimum_s = frontier_s = gap = tolerance = 0.0
    full = _Full(0.0, 0.0, 0.0, 0)
    candidates = points = 0
    for name, seed in product(setting.models, range(setting.repeats)):
        kind = setting.kind(name)
        begin = perf_counter()
        problem = _published(kind, seed, setting)
        build_s = perf_counter() - begin
        candidates = max(candidates, len(problem.candidates))
        for objective in kind.objectives:
            begin = perf_counter()
            found = solve([replace(problem, objective=objective)])
            seconds = build_s + perf_counter() - begin
            assert found is not None, "nothing is excluded"
            progress(f"{name} {seed}, {objective.time_weight:g} USD/s: {seconds:.1f} s, gap {found.gap:g}")
            optimum_s, gap = max(optimum_s, seconds), max(gap, found.gap)
        begin = perf_counter()
        frontier = find_frontier([problem], TOLERANCE)
        seconds = build_s + perf_counter() - begin
        progress(
            f"{name} {seed}, frontier: {seconds:.1f} s, {len(frontier.points)} points, tolerance "
            f"{frontier.tolerance:.4f}"
        )
        frontier_s, tolerance = max(frontier_s, seconds), max(tolerance, frontier.tolerance)
        points = max(points, len(frontier.points))
        full = full.or_worse(_full(name, seed, setting, progress))
    simulate_s = _simulate()
    progress(f"simulation: {simulate_s:.1f} s")
    return Report(
        bench="planner",
        figures={
            "optimum_s": optimum_s,
            "frontier_s": frontier_s,
            "gap": gap,
            "frontier_tolerance": tolerance if isfinite(tolerance) else 1.0,
            "frontier_points": points,
            "candidates": candidates,
            "full_space_s": full.seconds,
            "full_space_gap": full.gap,
            "full_space_first_loss": full.first_loss,
            "full_space_problems": full.problems,
            "simulate_1000x1000_s": simulate_s,
        },
        goals={
            "optimum_s": Goal(30.0),
            "frontier_s": Goal(120.0),
            "gap": Goal(0.0),
            "frontier_tolerance": Goal(TOLERANCE),
            "full_space_s": Goal(300.0),
            "full_space_gap": Goal(0.0),
            "full_space_first_loss": Goal(0.01),
            "simulate_1000x1000_s": Goal(60.0),
        },
        settings={
            **asdict(setting),
            "memory_mb": MEMORY_MB,
            "degrees": DEGREES,
            "time_weights": {name: [each.time_weight for each in KINDS[name].objectives] for name in setting.models},
            "micro_batch_sizes": SIZES,
        },
    )


def add_command(commands: Commands) -> None:
    """``python -m bench planner``."""
    default = Setting()
    description = "time to prove an optimum, to find a frontier, and to simulate 1,000 workers (about 5 minutes)"
    command = add_bench(commands, "planner", description, _run, default.repeats)
    command.add_argument("--layers", type=at_least(1, int), default=default.layers, metavar="N", help="of a model")
    command.add_argument("--micro-batches", type=at_least(1, int), metavar="N", help="instead of the kind's")
    chosen = command.add_mutually_exclusive_group()
    kinds = "; ".join(f"{name}: {kind.what}" for name, kind in KINDS.items())
    chosen.add_argument("--model", choices=KINDS, action="append", help=f"kind, may be repeated ({kinds})")
    chosen.add_argument("--every", action="store_true", help="all kinds (well over half an hour)")


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    models = tuple(KINDS) if options.every else tuple(options.model or Setting.models)
    return run(Setting(options.layers, options.repeats, models, options.micro_batches), progress)
