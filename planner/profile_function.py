"""The function that ``funcpipe profile --on aws`` runs on each memory size: the same passes as on the user's machine.

Its package holds ``source/_funcpipe``: this package's modules, and in ``measurement`` the job and the micro-batches, so
that the data's factory need not run there.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from planner.job import Job
from planner.layer_passes import LayerPasses
from planner.pass_times import Column, cores, measure_column
from runtime.codec import decode, encode
from runtime.errors import FuncpipeError
from runtime.factories import build_loss, build_model, build_optimizer
from runtime.limits import LAMBDA_MEMORY_PER_VCPU_MB
from runtime.spec import Strict

JOB, TASK, DATA = "job.json", "task.json", "micro-batch.safetensors"
"""Files of a measurement."""

MicroBatch = tuple[torch.Tensor, torch.Tensor]


class Task(Strict):
    """What to measure; arguments of ``measure_column``."""

    sizes: list[int]
    own: int
    held_out: int | None
    max_fit_error: float


def write_measurement(folder: Path, job: Job, task: Task, largest: MicroBatch) -> None:
    """Writes a measurement's files; micro-batches are the first samples of the ``largest`` one."""
    folder.mkdir(parents=True)
    (folder / JOB).write_text(job.model_dump_json())
    (folder / TASK).write_text(task.model_dump_json())
    inputs, targets = largest
    (folder / DATA).write_bytes(encode({"inputs": inputs.contiguous(), "targets": targets.contiguous()}))


def measure(folder: Path, source: Path, threads: int, sweeps: bool) -> Column:
    """Measures what ``folder`` describes, with the user's code in ``source``.

    Args:
        sweeps: whether also how times grow with the micro-batch.

    Raises:
        UserInputError: a layer or the loss fails on the data.
    """
    job = Job.model_validate_json((folder / JOB).read_text())
    task = Task.model_validate_json((folder / TASK).read_text())
    data = decode((folder / DATA).read_bytes())
    inputs, targets = data["inputs"], data["targets"]
    assert isinstance(inputs, torch.Tensor) and isinstance(targets, torch.Tensor), "as write_measurement wrote them"
    training = job.training
    model = build_model(job.model, source, training.seed, training.dtype)
    loss = build_loss(training.loss, source)
    by_size = {
        size: LayerPasses(model, loss, inputs[:size].clone(), targets[:size].clone(), training.seed)
        for size in (task.sizes if sweeps else [task.own])
    }
    return measure_column(
        threads,
        by_size,
        task.own,
        task.held_out if sweeps else None,
        task.max_fit_error,
        lambda parameters: build_optimizer(training.optimizer, parameters),
    )


def threads_of(environment: Mapping[str, str]) -> int:
    """As many as a worker of this memory size computes with."""
    memory_mb = int(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])
    return max(1, min(cores(), math.ceil(memory_mb / LAMBDA_MEMORY_PER_VCPU_MB)))


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """The Lambda entry; ``event`` is ``{"sweeps": bool}``.

    Returns:
        ``{"column": Column}``, or ``{"error": message}`` for what the user can correct.
    """
    package = Path(__file__).resolve().parent.parent
    try:
        column = measure(package / "measurement", package.parent, threads_of(os.environ), event["sweeps"])
    except FuncpipeError as error:
        return {"error": str(error)}
    if int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) < LAMBDA_MEMORY_PER_VCPU_MB:
        column = column.stretched()
    return {"column": column.model_dump(mode="json")}
