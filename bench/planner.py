"""How long the planner takes: proving an optimum, finding a frontier, simulating a large gang.

The models are made up: layers of random sizes from a fixed seed, so that figures of different days compare. The space
is that of FuncPipe: pipelined scatter-reduce, one of 8 memory sizes and of the degrees 1, 2, 4, 8, 16 per stage, which
here may differ between stages.
"""

import argparse
import random
from dataclasses import asdict, dataclass, replace
from math import isfinite
from time import perf_counter

from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from planner.cost_model import CostModel
from planner.frontier import TOLERANCE, find_frontier
from planner.job import Limits, Objective
from planner.milp import solve
from planner.platforms import PLATFORMS
from planner.problem import Problem, build_problem
from planner.profile_format import Profile
from planner.simulate import Sharing, simulate
from runtime.limits import S3_GETS_PER_S, S3_PUTS_PER_S
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from runtime.spec import TrainingSpec
from runtime.synchronisation import Algorithm

MIB = 1 << 20
MEMORY_MB = [1_024, 1_769, 2_560, 3_538, 5_120, 7_076, 8_192, 10_240]
DEGREES = [1, 2, 4, 8, 16]
TIME_WEIGHTS = (0.0001, 0.001, 0.01)
"""USD for a second; with these, plans of the made-up models are cheap, in between, and fast."""
MICRO_BATCH_SIZE = 4
STAGES, REPLICAS, ITERATIONS = 10, 100, 1_000
"""Of the simulated gang."""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    layers: int = 30
    repeats: int = 1
    """Models, each of other random layers."""
    micro_batches: int = 64


def _model(seed: int, setting: Setting) -> CostModel:
    """A made-up model on aws-lambda."""
    generator = random.Random(seed)

    def some(least: float, most: float) -> int:
        return int(generator.uniform(least, most) * MIB)

    def by_threads(least: float, most: float) -> list[float]:
        one = generator.uniform(least, most)
        return [one, one * generator.uniform(0.52, 0.7)]

    layers = []
    for _ in range(setting.layers):
        output, parameters = some(1, 20), some(1, 60)
        layers.append(
            {
                "module": "Layer",
                "forward_s": by_threads(0.05, 0.2),
                "backward_s": by_threads(0.1, 0.4),
                "step_s": 0.001,
                "output_bytes": output,
                "gradient_bytes": output,
                "activation_bytes": some(1, 15),
                "shared_input_bytes": 0,
                "output_kept": False,
                "parameter_bytes": parameters,
                "trainable_parameter_bytes": parameters,
                "buffer_bytes": 0,
            }
        )
    training = TrainingSpec.model_validate(
        {
            "loss": "cross_entropy",
            "optimizer": {"name": "sgd", "lr": 0.1},
            "global_batch_size": setting.micro_batches * MICRO_BATCH_SIZE,
            "micro_batch_size": MICRO_BATCH_SIZE,
            "iterations": ITERATIONS,
        }
    )
    profile = Profile.model_validate(
        {
            "schema_version": 1,
            "model": {"factory": "model:build"},
            "data": {"factory": "data:load"},
            "loss": training.loss,
            "optimizer": training.optimizer,
            "dtype": training.dtype,
            "micro_batch_size": MICRO_BATCH_SIZE,
            "source_sha256": "0" * 64,
            "dataset": {"train_samples": 100_000, "test_samples": 0, "sha256": "0" * 64},
            "host": "made up",
            "host_cores": 2,
            "threads": [1, 2],
            "base_bytes": 200 * MIB,
            "builds_whole_model": False,
            "data_bytes": MIB,
            "input_bytes": MIB,
            "target_bytes": 64,
            "layers": layers,
            "loss_profile": {"seconds": [0.001, 0.0006], "activation_bytes": 1_000},
        }
    )
    return CostModel(
        profile=profile, platform=PLATFORMS["aws-lambda"], training=training, architecture=Architecture.X86_64
    )


def _problem(seed: int, setting: Setting) -> Problem:
    limits = Limits(
        memory_mb=MEMORY_MB,
        max_replicas=max(DEGREES),
        max_stages=setting.layers,
        max_concurrency=900,
        synchronisation=[Algorithm.PIPELINED],
        recompute=False,
    )
    model = _model(seed, setting)
    return build_problem(model, Objective(), limits, groups=setting.layers, degrees=DEGREES)


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
    candidates = points = 0
    for seed in range(setting.repeats):
        begin = perf_counter()
        problem = _problem(seed, setting)
        build_s = perf_counter() - begin
        candidates = max(candidates, len(problem.candidates))
        for time_weight in TIME_WEIGHTS:
            begin = perf_counter()
            found = solve(replace(problem, objective=Objective(usd_weight=1.0, time_weight=time_weight)))
            seconds = build_s + perf_counter() - begin
            assert found is not None, "nothing is excluded"
            progress(f"model {seed}, {time_weight:g} USD/s: {seconds:.1f} s, gap {found.gap:g}")
            optimum_s, gap = max(optimum_s, seconds), max(gap, found.gap)
        begin = perf_counter()
        frontier = find_frontier(problem, TOLERANCE)
        seconds = build_s + perf_counter() - begin
        progress(f"model {seed}, frontier: {seconds:.1f} s, {len(frontier.points)} points")
        frontier_s, tolerance = max(frontier_s, seconds), max(tolerance, frontier.tolerance)
        points = max(points, len(frontier.points))
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
            "simulate_1000x1000_s": simulate_s,
        },
        goals={
            "optimum_s": Goal(30.0),
            "frontier_s": Goal(120.0),
            "gap": Goal(0.0),
            "frontier_tolerance": Goal(TOLERANCE),
            "simulate_1000x1000_s": Goal(60.0),
        },
        settings={**asdict(setting), "memory_mb": MEMORY_MB, "degrees": DEGREES, "time_weights": list(TIME_WEIGHTS)},
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
