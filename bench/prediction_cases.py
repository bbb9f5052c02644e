"""Configurations of the two examples that predictions are held against: what a plan can differ in, and the links; a
few that are always the same, and any number that are drawn at random."""

import random
from dataclasses import dataclass
from itertools import pairwise

from bench.ceiling import MIB
from runtime.schedule import ScheduleName
from runtime.store_wrappers import LinkSpec
from runtime.synchronisation import Algorithm


@dataclass(frozen=True)
class Part:
    """A stage of a case: how many layers, on how many replicas, and whether it recomputes."""

    layers: int
    replicas: int = 1
    recompute: bool = False


@dataclass(frozen=True)
class Case:
    """One plan, and the link that every worker of it has."""

    name: str
    example: str
    micro_batch: int
    micro_batches: int
    stages: tuple[Part, ...]
    schedule: ScheduleName = ScheduleName.GPIPE
    algorithm: Algorithm = Algorithm.PIPELINED
    mib_s: float = 4.0
    latency_s: float = 0.020

    @property
    def link(self) -> LinkSpec:
        return LinkSpec(upload_bytes_s=self.mib_s * MIB, download_bytes_s=self.mib_s * MIB, latency_s=self.latency_s)


CASES = (
    Case("digits_2_stages", "digits", 32, 3, (Part(2), Part(3)), mib_s=2.0),
    Case("digits_replicas", "digits", 16, 6, (Part(1, 2), Part(2, 2), Part(2)), algorithm=Algorithm.PLAIN, mib_s=2.0),
    Case("digits_1f1b", "digits", 16, 6, (Part(1), Part(2), Part(2)), ScheduleName.ONE_F_ONE_B, mib_s=1.0),
    Case("chargpt_3_stages", "chargpt", 8, 4, (Part(3), Part(3), Part(2)), mib_s=2.0),
    Case("chargpt_recompute", "chargpt", 8, 6, (Part(4, 1, True), Part(4)), ScheduleName.EAGER_ONE_F_ONE_B, mib_s=2.0),
    Case("chargpt_pieces", "chargpt", 4, 6, (Part(4, 2), Part(4)), algorithm=Algorithm.PIECE_PIPELINED, mib_s=2.0),
    Case("chargpt_data_parallel", "chargpt", 8, 4, (Part(8, 2),), algorithm=Algorithm.PIPELINED, mib_s=4.0),
    Case("chargpt_all", "chargpt", 4, 6, (Part(3), Part(3, 2), Part(2)), algorithm=Algorithm.ALL_TO_ALL, mib_s=2.0),
)

LAYERS = {"digits": 5, "chargpt": 8}
MOST_SAMPLES = 100
"""Of a batch: then no epoch of ``digits`` ends within the 12 iterations of a run, whose last batch would be a smaller
one."""


def drawn(seed: int, count: int) -> tuple[Case, ...]:
    """Configurations at random; the same ones for the same seed, and the first ones of a larger count."""
    generator = random.Random(seed)
    return tuple(_drawn(generator, f"drawn_{seed}_{number}") for number in range(count))


def _drawn(generator: random.Random, name: str) -> Case:
    example = generator.choice(list(LAYERS))
    stages = generator.choice([2, 3, 4])
    cuts = [0, *sorted(generator.sample(range(1, LAYERS[example]), stages - 1)), LAYERS[example]]
    replicated = generator.choice([None, *range(stages)])
    micro_batch = generator.choice([4, 8, 16])
    return Case(
        f"{name}_{example}",
        example,
        micro_batch,
        generator.choice([count for count in (2, 4, 6, 8) if micro_batch * count <= MOST_SAMPLES]),
        tuple(
            Part(end - begin, 2 if index == replicated else 1, generator.random() < 0.25)
            for index, (begin, end) in enumerate(pairwise(cuts))
        ),
        generator.choice(list(ScheduleName)),
        generator.choice(list(Algorithm)),
        mib_s=generator.choice([1.0, 2.0, 4.0, 8.0]),
        latency_s=generator.choice([0.005, 0.01, 0.02, 0.04]),
    )
