"""What merging a deep model's layers costs: how good the plan is, at most, and how long it takes to say so.

The model is made up: a chain of layers of random sizes from a fixed seed, every tenth of them several times as heavy.
Layers are merged, the best plan between the groups is found, its cuts are moved to where they are best between all
layers, and a bound is proven for the plans between all layers.
"""

import argparse
import random
from dataclasses import asdict, dataclass
from itertools import product
from time import perf_counter
from typing import Any

from bench.made_up import (
    DEGREES,
    MEMORY_MB,
    MIB,
    PUBLISHED,
    TIME_WEIGHTS,
    made_up_layer,
    made_up_limits,
    made_up_model,
)
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from planner.aims import Aim
from planner.cost_model import CostModel
from planner.job import Objective
from planner.refinement import refined
from planner.solver import solve
from planner.unmerged import merging_loss
from planner.variants import problems

HEAVY_EVERY, HEAVY = 10, 5.0
"""Every so many layers one is so much heavier."""
PARAMETERS_MIB, COMPUTE_S, ACTIVATIONS_MIB = 900, 11.0, 240
"""Of the whole chain, about; a micro-batch's, forward and backward."""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    layers: int = 300
    groups: int = 30
    """That layers are merged to, at most."""
    repeats: int = 1
    """Models, each of other random layers."""
    micro_batches: int = 64


def _layers(setting: Setting, seed: int) -> list[dict[str, Any]]:
    generator = random.Random(seed)
    share = 1 / (setting.layers * (1 + (HEAVY - 1) / HEAVY_EVERY))
    layers = []
    for number in range(setting.layers):
        heavy = share * (HEAVY if number % HEAVY_EVERY == HEAVY_EVERY - 1 else 1.0)
        one = generator.uniform(0.5, 1.5) * heavy * COMPUTE_S / 3
        parameters = int(generator.uniform(0.2, 1.8) * heavy * PARAMETERS_MIB * MIB)
        output = int(generator.uniform(1, 20) * MIB)
        layers.append(
            made_up_layer(
                forward_s=[one, 0.55 * one],
                backward_s=[2 * one, 1.1 * one],
                step_s=0.0001,
                output_bytes=output,
                activation_bytes=int(generator.uniform(0.5, 1.5) * heavy * ACTIVATIONS_MIB * MIB),
                parameter_bytes=parameters,
            )
        )
    return layers


def deep_model(setting: Setting, seed: int) -> CostModel:
    """The chain on aws-lambda."""
    return made_up_model(_layers(setting, seed), setting.micro_batches)


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; figures are the worst of the models and objectives."""
    limits = made_up_limits(setting.groups, **PUBLISHED)
    loss = gap = seconds = 0.0
    groups, gain = 0, 1.0
    for seed, weight in product(range(setting.repeats), TIME_WEIGHTS):
        model = deep_model(setting, seed)
        begin = perf_counter()
        objective = Objective(usd_weight=1.0, time_weight=weight)
        space = problems([model], objective, limits, setting.groups, DEGREES)
        merged = solve(space)
        merged_s = perf_counter() - begin
        assert merged is not None, "nothing is excluded"
        found = refined(merged, groups=setting.groups, degrees=DEGREES)
        proven = merging_loss(space, Aim(objective), found.objective, DEGREES)
        extra_s = perf_counter() - begin - merged_s
        better = 1 - found.objective / merged.objective
        groups = max(groups, len(space[0].boundaries) - 1)
        progress(
            f"model {seed}, {weight:g} USD/s: {groups} groups, best plan between them in {merged_s:.1f} s, gap "
            f"{merged.gap:g}; moved cuts are {better:.2%} better; proven within {proven:.2%} of the best between all "
            f"layers in {extra_s:.1f} s"
        )
        loss, gap, seconds = max(loss, proven), max(gap, merged.gap), max(seconds, extra_s)
        gain = min(gain, better)
    name = f"merged_{setting.layers}"
    return Report(
        bench="merging",
        figures={
            f"{name}_loss": loss,
            f"{name}_extra_s": seconds,
            f"{name}_least_gain": gain,
            f"{name}_groups": groups,
            f"{name}_gap": gap,
        },
        goals={f"{name}_extra_s": Goal(60.0), f"{name}_groups": Goal(setting.groups)},
        settings={**asdict(setting), "memory_mb": MEMORY_MB, "degrees": DEGREES, "time_weights": list(TIME_WEIGHTS)},
    )


def add_command(commands: Commands) -> None:
    """``python -m bench merging``."""
    default = Setting()
    description = "what merging the layers of a deep model costs (about 3 minutes)"
    command = add_bench(commands, "merging", description, _run, default.repeats)
    command.add_argument("--layers", type=at_least(1, int), default=default.layers, metavar="N", help="of the model")
    command.add_argument("--groups", type=at_least(1, int), default=default.groups, metavar="N", help="merged to")
    command.add_argument("--micro-batches", type=at_least(1, int), default=default.micro_batches, metavar="N")


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    setting = Setting(options.layers, options.groups, options.repeats, options.micro_batches)
    return run(setting, progress)
