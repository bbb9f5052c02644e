"""Models that nobody has: layers of made-up figures around which all else of a profile stays the same.

They come from fixed seeds, so that figures of different days compare.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from planner.cost_model import CostModel
from planner.job import Limits
from planner.platforms import PLATFORMS
from planner.profile_format import Profile
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from runtime.spec import EXACT_WIRE, TrainingSpec, WireSpec
from runtime.synchronisation import Algorithm

MIB = 1 << 20
MEMORY_MB = [1_024, 1_769, 2_560, 3_538, 5_120, 7_076, 8_192, 10_240]
DEGREES = [1, 2, 4, 8, 16]
TIME_WEIGHTS = (0.0001, 0.001, 0.01)
"""USD for a second; with these, plans of the made-up models are cheap, in between, and fast."""
MICRO_BATCH_SIZE = 4
ITERATIONS = 1_000
PUBLISHED: Mapping[str, Any] = {
    "synchronisation": [Algorithm.PIPELINED],
    "recompute": False,
    "schedule": ScheduleName.GPIPE,
}
"""Limits that leave FuncPipe's space."""


def made_up_layer(
    *,
    forward_s: Sequence[float],
    backward_s: Sequence[float],
    step_s: float,
    output_bytes: int,
    activation_bytes: int,
    parameter_bytes: int,
) -> dict[str, Any]:
    """A layer as ``planner.profile_format`` has it: seconds by threads, all parameters trainable."""
    return {
        "module": "Layer",
        "forward_s": forward_s,
        "backward_s": backward_s,
        "step_s": step_s,
        "output_bytes": output_bytes,
        "gradient_bytes": output_bytes,
        "activation_bytes": activation_bytes,
        "shared_input_bytes": 0,
        "output_kept": False,
        "parameter_bytes": parameter_bytes,
        "trainable_parameter_bytes": parameter_bytes,
        "buffer_bytes": 0,
    }


def made_up_model(
    layers: Sequence[Mapping[str, Any]],
    micro_batches: int,
    size: int = MICRO_BATCH_SIZE,
    wire: WireSpec = EXACT_WIRE,
    architecture: Architecture = Architecture.X86_64,
    platform: str = "aws-lambda",
) -> CostModel:
    """These layers on a platform that comes with the planner, profiled at micro-batches of ``size``.

    Args:
        micro_batches: of MICRO_BATCH_SIZE samples, that a global batch has.
    """
    training = TrainingSpec.model_validate(
        {
            "loss": "cross_entropy",
            "optimizer": {"name": "sgd", "lr": 0.1},
            "global_batch_size": micro_batches * MICRO_BATCH_SIZE,
            "micro_batch_size": size,
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
            "micro_batch_size": size,
            "source_sha256": "0" * 64,
            "dataset": {"train_samples": 100_000, "test_samples": 0, "sha256": "0" * 64},
            "host": "made up",
            "host_cores": 2,
            "threads": [1, 2],
            "base_bytes": 200 * MIB,
            "builds_whole_model": False,
            "data_bytes": MIB,
            "input_bytes": int(MIB * size / MICRO_BATCH_SIZE),
            "target_bytes": 64,
            "layers": layers,
            "loss_profile": {"seconds": [0.001, 0.0006], "activation_bytes": 1_000},
        }
    )
    return CostModel(
        profile=profile, platform=PLATFORMS[platform], training=training, architecture=architecture, wire=wire
    )


def made_up_limits(layers: int, **changes: object) -> Limits:
    """Of all memory sizes and degrees, and as many stages as layers."""
    everything = {"max_stages": layers, "max_replicas": max(DEGREES), "max_concurrency": 900}
    return Limits.model_validate({"memory_mb": MEMORY_MB, **everything, **changes})
