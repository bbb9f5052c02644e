"""How long the planner takes: proving an optimum, finding a frontier, simulating a large gang.

The models are made up: layers of random sizes from a fixed seed, so that figures of different days compare. Two spaces:

- FuncPipe's: GPipe, pipelined scatter-reduce, one of 8 memory sizes per stage, one of the degrees 1, 2, 4, 8, 16. Here
  each stage may have its own degree, which FuncPipe's one for all is a case of;
- the full one: besides, recomputation and summation per stage, micro-batch size, wire type, architecture, schedule.
"""

import argparse
import random
from dataclasses import asdict, astuple, dataclass, replace
from math import isfinite
from time import perf_counter

from bench.made_up import (
    DEGREES,
    ITERATIONS,
    MEMORY_MB,
    MIB,
    MICRO_BATCH_SIZE,
    PUBLISHED,
    TIME_WEIGHTS,
    made_up_layer,
    made_up_limits,
    made_up_model,
)
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
from runtime.spec import EXACT_WIRE, WireSpec, WireType

SIZES = [2, 4, 8]
"""Micro-batch sizes of the full space."""
FULL_TIME_WEIGHT = 0.001
FIRST_S = 30.0
"""Time for a plan that is nearly the best, the problems' building included."""
STAGES, REPLICAS = 10, 100
"""Of the simulated gang."""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    layers: int = 30
    repeats: int = 1
    """Models, each of other random layers."""
    micro_batches: int = 64


def _model(
    seed: int,
    setting: Setting,
    size: int = MICRO_BATCH_SIZE,
    wire: WireSpec = EXACT_WIRE,
    architecture: Architecture = Architecture.X86_64,
) -> CostModel:
    """A made-up model on aws-lambda. Of a layer's time on 4 samples, a fifth does not depend on their number."""
    generator = random.Random(seed)
    share = size / MICRO_BATCH_SIZE

    def some(least: float, most: float) -> int:
        return int(generator.uniform(least, most) * MIB)

    def by_threads(least: float, most: float) -> list[float]:
        one = generator.uniform(least, most) * (0.2 + 0.8 * share)
        return [one, one * generator.uniform(0.52, 0.7)]

    layers = []
    for _ in range(setting.layers):
        output, parameters = int(some(1, 20) * share), some(1, 60)
        layers.append(
            made_up_layer(
                forward_s=by_threads(0.05, 0.2),
                backward_s=by_threads(0.1, 0.4),
                step_s=0.001,
                output_bytes=output,
                activation_bytes=int(some(1, 15) * share),
                parameter_bytes=parameters,
            )
        )
    return made_up_model(layers, setting.micro_batches, size, wire, architecture)


def _published(seed: int, setting: Setting) -> Problem:
    limits = made_up_limits(setting.layers, **PUBLISHED)
    return build_problem(_model(seed, setting), Objective(), limits, groups=setting.layers, degrees=DEGREES)


def _everything(seed: int, setting: Setting) -> list[Problem]:
    models = [
        _model(seed, setting, size, WireSpec(activations=wire, gradients=wire), architecture)
        for size in SIZES
        for wire in WireType
        for architecture in Architecture
    ]
    return problems(
        models, Objective(time_weight=FULL_TIME_WEIGHT), made_up_limits(setting.layers), setting.layers, DEGREES
    )


@dataclass(frozen=True)
class _Full:
    """Of the full space: seconds to the proof, its gap, and how much dearer the plan is that is met in ``FIRST_S``."""

    seconds: float
    gap: float
    first_loss: float
    problems: int


def _full(seed: int, setting: Setting, progress: Progress) -> _Full:
    begin = perf_counter()
    space = _everything(seed, setting)
    build_s = perf_counter() - begin
    first = solve(space, time_limit_s=max(0.0, FIRST_S - build_s))
    begin = perf_counter()
    found = solve(space)
    seconds = build_s + perf_counter() - begin
    assert first is not None and found is not None, "nothing is excluded"
    loss = first.objective / found.objective - 1
    progress(
        f"model {seed}, full space of {len(space)} problems, which take {build_s:.1f} s to build: {seconds:.1f} s, "
        f"gap {found.gap:g}; after {FIRST_S:g} s within {loss:.3%}"
    )
    return _Full(seconds, found.gap, loss, len(space))


def _simulate() -> float:
    """Seconds for a thousand workers over a thousand iterations, under S3's rates."""
    model = _model(0, Setting(layers=STAGES, micro_batches=4 * REPLICAS))
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
    """Measures; figures are those of the slowest model and objective."""
    optimum_s = frontier_s = gap = tolerance = 0.0
    full = _Full(0.0, 0.0, 0.0, 0)
    candidates = points = 0
    for seed in range(setting.repeats):
        begin = perf_counter()
        problem = _published(seed, setting)
        build_s = perf_counter() - begin
        candidates = max(candidates, len(problem.candidates))
        for time_weight in TIME_WEIGHTS:
            begin = perf_counter()
            found = solve([replace(problem, objective=Objective(usd_weight=1.0, time_weight=time_weight))])
            seconds = build_s + perf_counter() - begin
            assert found is not None, "nothing is excluded"
            progress(f"model {seed}, {time_weight:g} USD/s: {seconds:.1f} s, gap {found.gap:g}")
            optimum_s, gap = max(optimum_s, seconds), max(gap, found.gap)
        begin = perf_counter()
        frontier = find_frontier([problem], TOLERANCE)
        seconds = build_s + perf_counter() - begin
        progress(f"model {seed}, frontier: {seconds:.1f} s, {len(frontier.points)} points")
        frontier_s, tolerance = max(frontier_s, seconds), max(tolerance, frontier.tolerance)
        points = max(points, len(frontier.points))
        more = _full(seed, setting, progress)
        full = _Full(*(max(pair) for pair in zip(astuple(full), astuple(more), strict=True)))
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
            "time_weights": list(TIME_WEIGHTS),
            "micro_batch_sizes": SIZES,
        },
    )


def add_command(commands: Commands) -> None:
    """``python -m bench planner``."""
    default = Setting()
    description = "time to prove an optimum, to find a frontier, and to simulate 1,000 workers (about 5 minutes)"
    command = add_bench(commands, "planner", description, _run, default.repeats)
    command.add_argument("--layers", type=at_least(1, int), default=default.layers, metavar="N", help="of a model")
    command.add_argument("--micro-batches", type=at_least(1, int), default=default.micro_batches, metavar="N")


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    return run(Setting(layers=options.layers, repeats=options.repeats, micro_batches=options.micro_batches), progress)
