"""Plans for benches: an example's model, cut as a bench wants it, with nothing predicted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from runtime.batches import total_iterations
from runtime.dataset import Dataset, load_dataset
from runtime.limits import LAMBDA_ACCOUNT_CONCURRENCY, LAMBDA_UNRESERVED_CONCURRENCY
from runtime.manifest import SCHEMA_VERSION, Manifest, parse_manifest
from runtime.source import source_sha256
from runtime.spec import DataSpec

CHARGPT = Path(__file__).resolve().parent.parent / "examples" / "chargpt"
SLOW_LAYERS = Path(__file__).resolve().parent / "slow_layers"
LAYERS_BESIDE_BLOCKS = 2
"""Of chargpt: its embedding and its head."""
CHARACTERS = 100_000


NO_BUDGET = {
    "budget_usd": None,
    "prices": {
        "usd_per_gb_s": 1e-9,  # the manifest asks for a price; nothing is bought
        "usd_per_tmp_gb_s": 0.0,
        "usd_per_put": 0.0,
        "usd_per_get": 0.0,
        "usd_per_attempt": 0.0,
    },
    "segment_at_most_usd": 0.0,
}
"""The manifest's section on money, where there is none."""


@cache
def chargpt_data(context: int) -> Dataset:
    """What the manifests below are trained on."""
    args = {"context": context, "characters": CHARACTERS}
    return load_dataset(DataSpec(factory="data:standard_library", args=args), CHARGPT)


def chargpt_manifest(
    *,
    layers: Sequence[int],
    iterations: int,
    micro_batches: int,
    micro_batch_size: int,
    replicas: Sequence[int] | None = None,
    context: int = 64,
    width: int = 96,
    schedule: str = "gpipe",
    synchronisation: Mapping[str, Any] | None = None,
    planned_s: float = 0.0,
) -> Manifest:
    """``examples/chargpt`` with AdamW in stages of so many ``layers`` each, for ``iterations`` in one segment.

    Args:
        layers: of each stage; the blocks are their sum without the embedding and the head.
        micro_batches: of a global batch, of ``micro_batch_size`` samples each.
        replicas: of each stage; 1 when not given.
        synchronisation: of every stage, as ``runtime.manifest.StageSynchronisation``.
        planned_s: predicted seconds of an iteration.
        context, width: symbols of a sample; elements of the vector of a symbol.
    """
    arguments = {"context": context, "width": width, "blocks": sum(layers) - LAYERS_BESIDE_BLOCKS}
    return _manifest(
        _Job(
            folder=CHARGPT,
            model={"factory": "model:gpt", "args": arguments},
            data={"factory": "data:standard_library", "args": {"context": context, "characters": CHARACTERS}},
            dataset=chargpt_data(context),
            optimizer={"name": "adamw", "lr": 0.003, "betas": [0.9, 0.98]},
        ),
        layers=layers,
        replicas=replicas or [1] * len(layers),
        iterations=iterations,
        batch=micro_batches * micro_batch_size,
        micro_batch=micro_batch_size,
        schedule=schedule,
        synchronisation=synchronisation,
        planned_s=planned_s,
        segment={"timeout_s": 900, "stall_timeout_s": 120.0},
    )


def slow_manifest(
    *, layers: Sequence[int], replicas: Sequence[int], seconds: float, stall_timeout_s: float
) -> Manifest:
    """``slow_layers``, whose first layer takes ``seconds``, for more iterations than anybody waits for."""
    return _manifest(
        _Job(
            folder=SLOW_LAYERS,
            model={"factory": "model:build", "args": {"layers": sum(layers), "seconds": seconds}},
            data={"factory": "model:data", "args": {}},
            dataset=load_dataset(DataSpec(factory="model:data", args={}), SLOW_LAYERS),
            optimizer={"name": "sgd", "lr": 0.1},
        ),
        layers=layers,
        replicas=replicas,
        iterations=1_000_000,
        batch=32,
        micro_batch=4,
        segment={"timeout_s": 900, "stall_timeout_s": stall_timeout_s, "attempts": 2},
    )


@dataclass(frozen=True)
class _Job:
    """What is trained; ``folder`` holds its modules."""

    folder: Path
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    dataset: Dataset
    optimizer: Mapping[str, Any]


def _manifest(
    job: _Job,
    *,
    layers: Sequence[int],
    replicas: Sequence[int],
    iterations: int,
    batch: int,
    micro_batch: int,
    segment: Mapping[str, Any],
    schedule: str = "gpipe",
    synchronisation: Mapping[str, Any] | None = None,
    planned_s: float = 0.0,
) -> Manifest:
    ends = [sum(layers[: index + 1]) for index in range(len(layers))]
    nothing = dict.fromkeys(("compute_s", "upload_s", "download_s", "synchronise_s", "usd_per_iteration"), 0.0)
    dataset = job.dataset
    document = {
        "schema_version": SCHEMA_VERSION,
        "name": "bench",
        "model": dict(job.model),
        "data": dict(job.data),
        "dataset": {
            "train_samples": dataset.train_samples,
            "test_samples": dataset.test_samples,
            "sha256": dataset.sha256,
        },
        "training": {
            "loss": "cross_entropy",
            "optimizer": dict(job.optimizer),
            "global_batch_size": batch,
            "micro_batch_size": micro_batch,
            "iterations": iterations,
            "seed": 0,
        },
        "iterations": total_iterations(dataset.train_samples, batch, None, iterations),
        "schedule": schedule,
        "platform": "none",
        "architecture": "x86_64",
        "max_concurrency": LAMBDA_ACCOUNT_CONCURRENCY - LAMBDA_UNRESERVED_CONCURRENCY,
        "stages": [
            {
                "first_layer": end - count,
                "end_layer": end,
                "modules": ["Layer"] * count,
                "memory_mb": 1769,
                "replicas": degree,
                **({"synchronisation": dict(synchronisation)} if synchronisation else {}),
                "predicted": {**nothing, "memory_mb": 0.0},
            }
            for count, end, degree in zip(layers, ends, replicas, strict=True)
        ],
        "segment": {"iterations": iterations, "checkpoint_s": 0.0, **segment},
        "spending": NO_BUDGET,
        "package": {"source": "."},
        "on_destroy": "delete",
        "predicted": {
            "iteration_s": planned_s,
            **dict.fromkeys(("total_s", "usd_per_iteration", "usd_total", "objective", "gap"), 0.0),
        },
        "hashes": {"job": "0" * 64, "profile": "0" * 64, "source": source_sha256(job.folder)},
    }
    return parse_manifest(json.dumps(document), "bench")
