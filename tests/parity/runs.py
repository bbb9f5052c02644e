"""Small forms of the two examples, trained by a plan in local processes and by the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from runtime.dataset import Dataset, load_dataset
from runtime.spec import DataSpec, TrainingSpec
from runtime.synchronisation import Algorithm
from tests.examples.modules import EXAMPLES, load
from tests.gangs import FixtureRun
from tests.parity import oracle
from tests.parity.oracle import Trained

SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
NESTEROV = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}
ADAM = {"name": "adam", "lr": 3e-3}
AMSGRAD = {"name": "adam", "lr": 3e-3, "amsgrad": True}
ADAMW = {"name": "adamw", "lr": 3e-3, "weight_decay": 0.1}


@dataclass(frozen=True)
class Example:
    """An example's factories with arguments that make it small, and batches that never divide evenly."""

    folder: str
    model: str
    model_args: dict[str, Any]
    data: str
    data_args: dict[str, Any]
    global_batch_size: int
    micro_batch_size: int
    iterations: int = 6

    @property
    def source(self) -> Path:
        return EXAMPLES / self.folder

    @cache  # noqa: B019 - the instances live as long as the module
    def dataset(self) -> Dataset:
        return load_dataset(DataSpec(factory=f"data:{self.data}", args=self.data_args), self.source)

    def build(self) -> torch.nn.Sequential:
        return getattr(load(self.folder, "model"), self.model)(**self.model_args)

    def __hash__(self) -> int:
        return id(self)


DIGITS = Example(
    folder="digits",
    model="convolutional_network",
    model_args={"width": 4, "hidden": 12, "dropout": 0.3},
    data="digits",
    data_args={},
    global_batch_size=400,  # 1,437 samples: 400, 400, 400, 237
    micro_batch_size=90,  # 90, 90, 90, 90, 40; of the short batch 90, 90, 57
)
CHARGPT = Example(
    folder="chargpt",
    model="gpt",
    model_args={"context": 12, "width": 16, "heads": 2, "blocks": 3, "dropout": 0.1},
    data="standard_library",
    data_args={"context": 12, "characters": 4_000},
    global_batch_size=100,  # 317 samples: 100, 100, 100, 17
    micro_batch_size=15,  # six of 15 and one of 10; of the short batch 15, 2
)
TWO_SHARDS = Example(
    folder="chargpt",
    model="gpt",
    model_args={"context": 4, "width": 8, "heads": 1, "blocks": 1, "dropout": 0.1},
    data="standard_library",
    data_args={"context": 4, "characters": 600_000},  # 142,500 samples of 64 bytes; a shard holds 8 MiB
    global_batch_size=30,
    micro_batch_size=8,
    iterations=3,
)


def plan(
    example: Example,
    layers: Sequence[int],
    replicas: Sequence[int],
    optimizer: dict[str, Any],
    dtype: str = "float64",
    segment_iterations: int | None = None,
) -> dict[str, Any]:
    """Options of a manifest with ``layers[s]`` layers and ``replicas[s]`` replicas in stage s."""
    return {
        "layers": layers,
        "replicas": list(replicas),
        "model": f"model:{example.model}",
        "model_args": example.model_args,
        "optimizer": optimizer,
        "global_batch_size": example.global_batch_size,
        "micro_batch_size": example.micro_batch_size,
        "iterations": example.iterations,
        "seed": 7,
        "dtype": dtype,
        "segment_iterations": segment_iterations,
    }


def summed_by(algorithm: Algorithm) -> dict[str, Any]:
    """Options for a way to sum gradients, in pieces so small that the models here have many."""
    return {"synchronisation": algorithm.value, "piece_bytes": 1024}


def run_plan(example: Example, options: dict[str, Any], root: Path) -> tuple[Trained, TrainingSpec]:
    """Trains in local processes; checks that the run ended well and that no message was left in an inbox."""
    run = FixtureRun(
        root, source=example.source, data=f"data:{example.data}", data_args=example.data_args, **options
    ).train()
    assert run.inbox_objects == []
    return Trained(run.losses, run.weights), run.manifest.training


def run_oracle(example: Example, training: TrainingSpec) -> Trained:
    """The same in one plain torch process."""
    data = example.dataset()
    return oracle.train(example.build, data.train_inputs, data.train_targets, training)


def worst_error(measured: Trained, expected: Trained) -> float:
    """Largest relative error of a loss or of a weight tensor."""
    pairs = zip(measured.losses, expected.losses, strict=True)
    losses = max(abs(ours - theirs) / abs(theirs) for ours, theirs in pairs)
    return max(losses, oracle.relative_error(measured.weights, expected.weights))
