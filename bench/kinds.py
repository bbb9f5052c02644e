"""Kinds of made-up models and jobs that the planner's search is measured on: easy ones, and such as are hard for it.

Each is drawn from a seed, so that figures of different days compare.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log

from bench.made_up import MIB, MICRO_BATCH_SIZE, TIME_WEIGHTS, made_up_layer, made_up_model
from planner.cost_model import CostModel
from planner.job import Objective
from runtime.manifest import Architecture
from runtime.spec import EXACT_WIRE, WireSpec


@dataclass(frozen=True)
class MadeUpLayer:
    """Of ``MICRO_BATCH_SIZE`` samples: seconds with one thread, the share of them with two, bytes."""

    forward_s: float
    backward_s: float
    forward_share: float
    backward_share: float
    output_bytes: int
    activation_bytes: int
    parameter_bytes: int
    step_s: float = 0.001


Drawing = Callable[[random.Random, int], list[MadeUpLayer]]
"""So many layers."""


def _mib(generator: random.Random, least: float, most: float) -> int:
    return int(generator.uniform(least, most) * MIB)


def _between(
    generator: random.Random,
    *,
    seconds: tuple[float, float],
    output: tuple[float, float],
    parameters: tuple[float, float],
    activations: tuple[float, float],
) -> MadeUpLayer:
    """A layer of evenly distributed figures, backward passes twice as long as forward ones; sizes in MiB."""
    output_bytes, parameter_bytes = _mib(generator, *output), _mib(generator, *parameters)
    forward_s, forward_share = generator.uniform(*seconds), generator.uniform(0.52, 0.7)
    backward_s, backward_share = 2 * generator.uniform(*seconds), generator.uniform(0.52, 0.7)
    return MadeUpLayer(
        forward_s=forward_s,
        backward_s=backward_s,
        forward_share=forward_share,
        backward_share=backward_share,
        output_bytes=output_bytes,
        activation_bytes=_mib(generator, *activations),
        parameter_bytes=parameter_bytes,
    )


def _even(generator: random.Random, layers: int) -> list[MadeUpLayer]:
    return [
        _between(generator, seconds=(0.05, 0.2), output=(1, 20), parameters=(1, 60), activations=(1, 15))
        for _ in range(layers)
    ]


def _uneven(generator: random.Random, layers: int) -> list[MadeUpLayer]:
    """Figures log-normal over two decades; the first is an embedding, every tenth ten times as heavy."""

    def about(middle: float) -> float:
        return middle * exp(generator.gauss(0.0, log(10) / 2))

    drawn = []
    for number in range(layers):
        heavy = 10 if number % 10 == 5 else 1
        seconds = heavy * about(0.05)
        drawn.append(
            MadeUpLayer(
                forward_s=seconds,
                backward_s=2 * seconds,
                forward_share=generator.uniform(0.52, 0.95),
                backward_share=generator.uniform(0.52, 0.95),
                output_bytes=int(min(60.0, about(3.0)) * MIB),
                activation_bytes=int(min(60.0, about(4.0)) * MIB),
                parameter_bytes=int(min(300.0, heavy * about(8.0)) * MIB),
            )
        )
    drawn[0] = MadeUpLayer(0.0005, 0.002, 0.9, 0.9, 2 * MIB, 64 << 10, 500 * MIB, 0.05)
    return drawn


def _identical(generator: random.Random, layers: int) -> list[MadeUpLayer]:
    (one,) = _even(generator, 1)
    return [one] * layers


def _convolutional(generator: random.Random, layers: int) -> list[MadeUpLayer]:
    """Activations shrink from layer to layer, parameters grow."""
    drawn = []
    for number in range(layers):
        depth = number / max(1, layers - 1)
        shrunk, grown = 60.0 * 0.02**depth, 0.04 * 1500.0**depth
        drawn.append(
            _between(
                generator,
                seconds=(0.06, 0.18),
                output=(0.3 * shrunk, 0.5 * shrunk),
                parameters=(0.7 * grown, 1.3 * grown),
                activations=(0.7 * shrunk, 1.3 * shrunk),
            )
        )
    return drawn


def _transformer(generator: random.Random, layers: int) -> list[MadeUpLayer]:
    """Blocks that are all the same between an embedding and a head, which hold much and compute little."""
    block = MadeUpLayer(0.12, 0.25, 0.55, 0.55, 2 * MIB, 30 * MIB, 28 * MIB, 0.004)
    embedding = MadeUpLayer(0.002, 0.004, 0.9, 0.9, 2 * MIB, 2 * MIB, 120 * MIB, 0.015)
    head = MadeUpLayer(0.05, 0.1, 0.55, 0.55, 4 * MIB, 8 * MIB, 120 * MIB, 0.015)
    return [embedding, *[block] * max(0, layers - 2), head][:layers]


def _tight(generator: random.Random, layers: int) -> list[MadeUpLayer]:
    """Most layers fit the largest memory sizes only."""
    return [
        _between(generator, seconds=(0.05, 0.2), output=(1, 20), parameters=(300, 900), activations=(20, 60))
        for _ in range(layers)
    ]


def _tiny(generator: random.Random, layers: int) -> list[MadeUpLayer]:
    """Requests take longer than what they carry, and than layers compute."""
    return [
        _between(generator, seconds=(0.0005, 0.003), output=(0.02, 0.4), parameters=(0.02, 1), activations=(0.05, 0.8))
        for _ in range(layers)
    ]


def _weighed(time_weights: Sequence[float]) -> tuple[Objective, ...]:
    return tuple(Objective(time_weight=weight) for weight in time_weights)


@dataclass(frozen=True)
class Kind:
    """Models, and what is asked of them."""

    what: str
    layers: Drawing
    micro_batches: int = 64
    """Of ``MICRO_BATCH_SIZE`` samples."""
    limits: Mapping[str, object] = field(default_factory=dict)
    """Besides those of the space."""
    platform: str = "aws-lambda"
    objectives: tuple[Objective, ...] = field(default_factory=lambda: _weighed(TIME_WEIGHTS))
    """Of FuncPipe's space."""
    full_objectives: tuple[Objective, ...] = field(default_factory=lambda: _weighed([0.001]))
    """Of the full one."""


KINDS: Mapping[str, Kind] = {
    "even": Kind("layers of much the same costs", _even),
    "uneven": Kind("costs over two decades, an embedding and a few huge layers", _uneven),
    "identical": Kind("all layers the same", _identical),
    "cnn": Kind("activations large at first, parameters at last", _convolutional),
    "transformer": Kind("blocks all the same between an embedding and a head", _transformer),
    "few": Kind("4 micro-batches", _even, micro_batches=4),
    "many": Kind("512 micro-batches", _even, micro_batches=512),
    "tight": Kind("layers that fit the largest memory sizes only", _tight),
    "tiny": Kind("layers that take less than a request's latency", _tiny),
    "cheap": Kind(
        "a second is worth nothing, or next to it", _even, objectives=_weighed([0, 1e-6]), full_objectives=_weighed([0])
    ),
    "fast": Kind(
        "a second is worth much, or all",
        _even,
        objectives=(*_weighed([0.1, 10]), Objective(usd_weight=0, time_weight=1)),
        full_objectives=(Objective(usd_weight=0, time_weight=1),),
    ),
    "short": Kind("at most 4 stages", _even, limits={"max_stages": 4}),
    "small": Kind("at most 12 workers", _even, limits={"max_concurrency": 12}),
    "bounded": Kind("at most 6 stages and 24 workers", _even, limits={"max_stages": 6, "max_concurrency": 24}),
    "scaled": Kind("bandwidth that grows with memory", _even, platform="aws-lambda-scaled"),
}


def drawn_model(
    kind: Kind,
    seed: int,
    layers: int,
    size: int = MICRO_BATCH_SIZE,
    wire: WireSpec = EXACT_WIRE,
    architecture: Architecture = Architecture.X86_64,
) -> CostModel:
    """A model profiled at micro-batches of ``size``. Of a layer's time on 4 samples, a fifth does not depend on their
    number."""
    share = size / MICRO_BATCH_SIZE

    def by_threads(one: float, two: float) -> list[float]:
        seconds = one * (0.2 + 0.8 * share)
        return [seconds, seconds * two]

    found = [
        made_up_layer(
            forward_s=by_threads(layer.forward_s, layer.forward_share),
            backward_s=by_threads(layer.backward_s, layer.backward_share),
            step_s=layer.step_s,
            output_bytes=int(layer.output_bytes * share),
            activation_bytes=int(layer.activation_bytes * share),
            parameter_bytes=layer.parameter_bytes,
        )
        for layer in kind.layers(random.Random(seed), layers)
    ]
    return made_up_model(found, kind.micro_batches, size, wire, architecture, kind.platform)
