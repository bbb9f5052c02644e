"""Valid manifests for tests: every figure plausible, everything that a test cares about a keyword."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.batches import total_iterations
from runtime.limits import LAMBDA_ACCOUNT_CONCURRENCY, LAMBDA_UNRESERVED_CONCURRENCY
from runtime.manifest import SCHEMA_VERSION, Manifest, parse_manifest
from runtime.source import source_sha256

_SGD = {"name": "sgd", "lr": 0.1}


def manifest_document(
    *,
    stages: int = 2,
    layers: Sequence[int] | None = None,
    replicas: int | Sequence[int] = 1,
    memory_mb: int | Sequence[int] = 1024,
    name: str = "example",
    model: str = "model:build",
    model_args: Mapping[str, Any] | None = None,
    data: str = "data:load",
    data_args: Mapping[str, Any] | None = None,
    loss: str = "cross_entropy",
    optimizer: Mapping[str, Any] | None = None,
    global_batch_size: int = 32,
    micro_batch_size: int = 8,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
    metric: str = "accuracy",
    train_samples: int = 128,
    test_samples: int = 32,
    dataset_sha256: str = "d" * 64,
    segment_iterations: int | None = None,
    max_iterations: int | None = None,
    checkpoint_s: float = 0.5,
    attempts: int = 3,
    checkpoints_kept: int = 2,
    budget_usd: float | None = None,
    predicted_iteration_s: float = 1.0,
    usd_per_gb_s: float = 1.6e-5,
    usd_per_put: float = 5e-6,
    usd_per_get: float = 4e-7,
    usd_per_attempt: float = 1.5e-4,
    segment_at_most_usd: float = 0.01,
    predicted_usd_per_iteration: float = 1e-5,
    timeout_s: int = 300,
    stall_timeout_s: float = 60.0,
    architecture: str = "x86_64",
    source: str = "source",
    source_hash: str = "c" * 64,
    requirements: Sequence[str] = (),
    on_destroy: str = "delete",
    schedule: str = "gpipe",
    recompute: bool | Sequence[bool] = False,
    synchronisation: str = "pipelined",
    piece_bytes: int = 1 << 20,
    bucket_bytes: int | None = None,
    wire: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The manifest as a JSON document, to be edited by tests of malformed ones.

    Args:
        stages: number of stages.
        layers: layers of each stage; 2 each when not given.
        replicas, memory_mb: of every stage, or one per stage.
        epochs, iterations: at most one; one epoch when neither is given.
        recompute: of every stage, or one per stage.
        segment_iterations: iterations of a segment, as predicted and at most; all of them when not given.
        max_iterations: of a segment, where that is not what is predicted.
        synchronisation, piece_bytes, bucket_bytes: of every stage.
        wire: {"activations", "gradients"}; all native when not given.
        source_hash: ``runtime.source.source_sha256`` of the source folder, where packaging is tested.
    """
    layers = [2] * stages if layers is None else list(layers)
    replicas = [replicas] * len(layers) if isinstance(replicas, int) else list(replicas)
    memory_mb = [memory_mb] * len(layers) if isinstance(memory_mb, int) else list(memory_mb)
    recompute = [recompute] * len(layers) if isinstance(recompute, bool) else list(recompute)
    assert len(layers) == len(replicas) == len(memory_mb), "layers, replicas and memory_mb: one per stage"
    if epochs is None and iterations is None:
        epochs = 1
    steps = total_iterations(train_samples, global_batch_size, epochs, iterations)
    ends = [sum(layers[: index + 1]) for index in range(len(layers))]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "model": {"factory": model, "args": dict(model_args or {})},
        "data": {"factory": data, "args": dict(data_args or {})},
        "dataset": {"train_samples": train_samples, "test_samples": test_samples, "sha256": dataset_sha256},
        "training": {
            "loss": loss,
            "optimizer": dict(optimizer or _SGD),
            "global_batch_size": global_batch_size,
            "micro_batch_size": micro_batch_size,
            "epochs": epochs,
            "iterations": iterations,
            "seed": seed,
            "dtype": dtype,
        },
        "wire": {"activations": "native", "gradients": "native", **(wire or {})},
        "evaluation": {"metric": metric},
        "iterations": steps,
        "schedule": schedule,
        "platform": "aws-lambda",
        "architecture": architecture,
        "max_concurrency": LAMBDA_ACCOUNT_CONCURRENCY - LAMBDA_UNRESERVED_CONCURRENCY,
        "stages": [
            {
                "first_layer": end - count,
                "end_layer": end,
                "modules": ["Linear"] * count,
                "memory_mb": memory,
                "ephemeral_storage_mb": 512,
                "replicas": degree,
                "recompute": again,
                "synchronisation": {
                    "algorithm": synchronisation,
                    "piece_bytes": piece_bytes,
                    "bucket_bytes": bucket_bytes,
                },
                "predicted": {
                    "compute_s": 0.5,
                    "upload_s": 0.1,
                    "download_s": 0.1,
                    "synchronise_s": 0.0 if degree == 1 else 0.2,
                    "memory_mb": memory * 0.75,
                    "usd_per_iteration": 1e-5 * degree,
                },
            }
            for count, end, memory, degree, again in zip(layers, ends, memory_mb, replicas, recompute, strict=True)
        ],
        "segment": {
            "iterations": segment_iterations or steps,
            "max_iterations": max_iterations or segment_iterations,
            "timeout_s": timeout_s,
            "stall_timeout_s": stall_timeout_s,
            "checkpoint_s": checkpoint_s,
            "attempts": attempts,
        },
        "checkpoints_kept": checkpoints_kept,
        "spending": {
            "budget_usd": budget_usd,
            "prices": {
                "usd_per_gb_s": usd_per_gb_s,
                "usd_per_tmp_gb_s": 3e-8,
                "usd_per_put": usd_per_put,
                "usd_per_get": usd_per_get,
                "usd_per_attempt": usd_per_attempt,
            },
            "segment_at_most_usd": segment_at_most_usd,
        },
        "package": {"source": source, "requirements": list(requirements)},
        "on_destroy": on_destroy,
        "predicted": {
            "iteration_s": predicted_iteration_s,
            "total_s": predicted_iteration_s * steps,
            "usd_per_iteration": predicted_usd_per_iteration * sum(replicas),
            "usd_total": predicted_usd_per_iteration * sum(replicas) * steps,
            "objective": 1.0,
            "gap": 0.0,
        },
        "hashes": {"job": "a" * 64, "profile": "b" * 64, "source": source_hash},
    }


def make_manifest(**options: Any) -> Manifest:
    """A validated manifest; the options are those of ``manifest_document``."""
    return parse_manifest(json.dumps(manifest_document(**options)), "make_manifest")


def write_project(folder: Path, **options: Any) -> Path:
    """A folder with a source package and the manifest that belongs to it. Returns the manifest's path."""
    source = folder / "source"
    if not source.exists():
        source.mkdir(parents=True)
        (source / "model.py").write_text("def build():\n    return None\n")
        (source / "data.py").write_text("def load():\n    return {}\n")
    path = folder / "manifest.json"
    path.write_text(make_manifest(source_hash=source_sha256(source), **options).to_json())
    return path
