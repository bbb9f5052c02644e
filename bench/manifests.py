"""Plans for benches: an example's model, cut as a bench wants it, with nothing predicted."""

import json
from collections.abc import Mapping, Sequence
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
    dataset = chargpt_data(context)
    batch = micro_batches * micro_batch_size
    ends = [sum(layers[: index + 1]) for index in range(len(layers))]
    nothing = dict.fromkeys(("compute_s", "upload_s", "download_s", "synchronise_s", "usd_per_iteration"), 0.0)
    document = {
        "schema_version": SCHEMA_VERSION,
        "name": "chargpt",
        "model": {
            "factory": "model:gpt",
            "args": {"context": context, "width": width, "blocks": ends[-1] - LAYERS_BESIDE_BLOCKS},
        },
        "data": {"factory": "data:standard_library", "args": {"context": context, "characters": CHARACTERS}},
        "dataset": {
            "train_samples": dataset.train_samples,
            "test_samples": dataset.test_samples,
            "sha256": dataset.sha256,
        },
        "training": {
            "loss": "cross_entropy",
            "optimizer": {"name": "adamw", "lr": 0.003, "betas": [0.9, 0.98]},
            "global_batch_size": batch,
            "micro_batch_size": micro_batch_size,
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
            for count, end, degree in zip(layers, ends, replicas or [1] * len(layers), strict=True)
        ],
        "segment": {"iterations": iterations, "timeout_s": 900, "stall_timeout_s": 120.0, "checkpoint_s": 0.0},
        "spending": NO_BUDGET,
        "package": {"source": "."},
        "on_destroy": "delete",
        "predicted": {
            "iteration_s": planned_s,
            **dict.fromkeys(("total_s", "usd_per_iteration", "usd_total", "objective", "gap"), 0.0),
        },
        "hashes": {"job": "0" * 64, "profile": "0" * 64, "source": source_sha256(CHARGPT)},
    }
    return parse_manifest(json.dumps(document), "bench")
