"""Measures a model's layers by running them on a real micro-batch of its real data.

A pass runs the layers one after the other, each cut off from its neighbours as at a stage boundary, then backward in
reverse order with the gradients that really arrive:

    x ─► layer 0 ─┤├─► layer 1 ─┤├─► ... ─► loss          forward: timed one by one
       ◄─────────┤├◄──────────┤├◄─── ... ◄──┘            backward: likewise

The figures are medians over passes, for one thread and for all of the machine's cores.
"""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from planner import resident_memory
from planner.job import Job
from planner.kept_tensors import KeptTensors
from planner.profile_format import PROFILE_VERSION, LayerProfile, LossProfile, Profile
from planner.rounding import significant
from runtime.codec import Bundle, encode, pack, unpack
from runtime.dataset import Dataset, load_dataset
from runtime.errors import UserInputError
from runtime.factories import (
    TORCH_DTYPES,
    Loss,
    build_layers,
    build_loss,
    build_model,
    build_optimizer,
    named_layers,
)
from runtime.manifest import DatasetFacts
from runtime.seeds import derive_seed
from runtime.shards import CACHED_SHARDS, SHARD_BYTES
from runtime.source import source_sha256

WARM_UP_PASSES = 2
MIN_PASSES = 5
MAX_PASSES = 50
BUDGET_S = 4.0
"""Per thread count, once MIN_PASSES are done."""
STEP_REPEATS = 5


@dataclass
class _Times:
    """Seconds of each layer, one entry per pass."""

    forward: list[list[float]]
    backward: list[list[float]]
    loss: list[float] = field(default_factory=list)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _blaming(what: str, value: Any) -> Iterator[None]:
    """Turns whatever the user's layer or loss raises into a message that names it and its input."""
    try:
        yield
    except UserInputError:
        raise
    except Exception as error:  # the user's code may raise anything
        shapes = ", ".join(
            f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"
            if isinstance(leaf, torch.Tensor)
            else repr(leaf)
            for name, leaf in _leaves(value).items()
        )
        raise UserInputError(
            f"{what} failed on one micro-batch (its input: {shapes}): {type(error).__name__}: {error}. "
            "Correct the model, or the data that its factory returns."
        ) from error


def _leaves(value: Any) -> Bundle:
    bundle = pack(value)
    return {name: leaf for name, leaf in bundle.items() if name != "structure"}


def _floating(bundle: Bundle) -> dict[str, torch.Tensor]:
    return {name: leaf for name, leaf in bundle.items() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()}


def _cut(value: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """``value`` as a stage receives it, and the leaves in which its gradients will arrive.

    Floating tensors are copies of the leaves, because an in-place layer must not write into a leaf.
    """
    bundle = pack(value)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in _floating(bundle).items()}
    return unpack({**bundle, **{name: leaf.clone() for name, leaf in leaves.items()}}), leaves


def _backward(output: Any, gradients: dict[str, torch.Tensor]) -> None:
    roots = {name: tensor for name, tensor in _floating(pack(output)).items() if tensor.requires_grad}
    present = [name for name in roots if name in gradients]
    if present:
        torch.autograd.backward([roots[name] for name in present], [gradients[name] for name in present])


class _Measurement:
    """One model, one micro-batch."""

    def __init__(
        self, model: nn.Sequential, loss: Loss, inputs: torch.Tensor, targets: torch.Tensor, seed: int
    ) -> None:
        self.layers = [layer.train() for _, layer in named_layers(model)]
        self.names = [type(layer).__name__[:64] for layer in self.layers]
        self._loss, self._inputs, self._targets, self._seed = loss, inputs, targets, seed

    def _run(self, index: int, value: Any) -> Any:
        with _blaming(f"layer {index} ({self.names[index]})", value):
            torch.manual_seed(derive_seed(self._seed, "layer", index, 0, 0))
            return self.layers[index](value)

    def _loss_of(self, value: Any) -> torch.Tensor:
        with _blaming("the loss", (value, self._targets)):
            loss = self._loss(value, self._targets)
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
                is_tensor = isinstance(loss, torch.Tensor)
                returned = f"tensor of shape {list(loss.shape)}" if is_tensor else type(loss).__name__
                raise UserInputError(
                    f"the loss must be a scalar tensor that depends on the model's parameters (returned: {returned})"
                )
            return loss

    def boundaries(self) -> tuple[list[tuple[int, int]], KeptTensors]:
        """Per layer the bytes of its output and of that output's gradient as they are sent; what all layers keep, the
        loss counting as one more layer."""
        kept = KeptTensors(tensor for layer in self.layers for tensor in [*layer.parameters(), *layer.buffers()])
        found: list[tuple[int, int]] = []
        value: Any = self._inputs.clone()
        for index in range(len(self.layers)):
            kept.enter(_leaves(value).values())
            with kept.watching():
                value = self._run(index, value)
            with _blaming(f"layer {index} ({self.names[index]})", None):
                bundle = pack(value)
            kept.leave(_leaves(value).values())
            found.append((len(encode(bundle)), len(encode(_floating(bundle)))))
        kept.enter(_leaves(value).values())
        with kept.watching():
            loss = self._loss_of(value)
        kept.leave(())
        # Whole, as in one stage: the timed passes are cut at every layer, which hides a layer that overwrites in place
        # what the one before it needs.
        with _blaming("the backward pass through all layers", None):
            loss.backward()
        return found, kept

    def pass_once(self, times: _Times | None) -> None:
        """One forward and backward of everything; adds to ``times`` when given."""
        outputs: list[Any] = []
        entered: list[dict[str, torch.Tensor]] = []
        forward, backward = [], []
        value: Any = self._inputs.clone()
        for index in range(len(self.layers)):
            leaves: dict[str, torch.Tensor] = {}
            if index:
                value, leaves = _cut(value)
            begin = perf_counter()
            value = self._run(index, value)
            forward.append(perf_counter() - begin)
            outputs.append(value)
            entered.append(leaves)
        last, loss_leaves = _cut(value)
        begin = perf_counter()
        self._loss_of(last).backward()
        loss_s = perf_counter() - begin
        gradients = self._arrived(loss_leaves)
        for index in reversed(range(len(self.layers))):
            begin = perf_counter()
            _backward(outputs[index], gradients)
            backward.append(perf_counter() - begin)
            gradients = self._arrived(entered[index])
        if times is not None:
            times.loss.append(loss_s)
            for index, seconds in enumerate(forward):
                times.forward[index].append(seconds)
            for index, seconds in enumerate(reversed(backward)):
                times.backward[index].append(seconds)

    @staticmethod
    def _arrived(leaves: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    def times(self) -> _Times:
        times = _Times([[] for _ in self.layers], [[] for _ in self.layers])
        for _ in range(WARM_UP_PASSES):
            self.pass_once(None)
        begin = perf_counter()
        for done in range(MAX_PASSES):
            if done >= MIN_PASSES and perf_counter() - begin > BUDGET_S:
                break
            self.pass_once(times)
        return times

    def step_s(self, index: int, build: Callable[[Any], torch.optim.Optimizer | None]) -> float:
        """Median seconds of the optimiser's step on one layer."""
        optimizer = build(self.layers[index].parameters())
        if optimizer is None:
            return 0.0
        seconds = []
        for _ in range(STEP_REPEATS):
            begin = perf_counter()
            optimizer.step()
            seconds.append(perf_counter() - begin)
        return median(seconds)


def _micro_batch(dataset: Dataset, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The first samples, as a worker gets them."""
    pair = (dataset.train_inputs[:size], dataset.train_targets[:size])
    inputs, targets = (tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in pair)
    return inputs, targets


def _nbytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _cached_shards_bytes(dataset: Dataset) -> int:
    """What a shard reader holds at most: the cached shards, and one on its way."""
    largest = max(_nbytes([dataset.train_inputs]), _nbytes([dataset.train_targets]))
    return min(2 * largest, (CACHED_SHARDS + 1) * SHARD_BYTES)


def profile_job(job: Job, folder: Path) -> Profile:
    """Measures the job's model in this process; takes seconds to a minute.

    Args:
        folder: the package's source folder.

    Raises:
        UserInputError: a factory cannot be called, or a layer or the loss fails on the data.
        FuncpipeError: the base memory of a worker cannot be measured.
    """
    training = job.training
    dataset = load_dataset(job.data, folder)
    _, only_own_layers = build_layers(job.model, folder, 0, 1, training.seed, training.dtype)
    model = build_model(job.model, folder, training.seed, training.dtype)
    inputs, targets = _micro_batch(dataset, training.micro_batch_size, TORCH_DTYPES[training.dtype])
    measurement = _Measurement(model, build_loss(training.loss, folder), inputs, targets, training.seed)

    threads = sorted({1, _cores()})
    with _threads(1):
        sent, kept = measurement.boundaries()
    by_threads = []
    for count in threads:
        with _threads(count):
            by_threads.append(measurement.times())
    with _threads(1):
        steps = [
            measurement.step_s(index, lambda parameters: build_optimizer(training.optimizer, parameters))
            for index in range(len(measurement.layers))
        ]

    layers = [
        LayerProfile(
            module=measurement.names[index],
            forward_s=[significant(median(times.forward[index])) for times in by_threads],
            backward_s=[significant(median(times.backward[index])) for times in by_threads],
            step_s=significant(steps[index]),
            output_bytes=sent[index][0],
            gradient_bytes=sent[index][1],
            activation_bytes=kept.first_kept_bytes(index),
            shared_input_bytes=kept.shared_input_bytes(index),
            output_kept=kept.output_kept(index),
            parameter_bytes=_nbytes(layer.parameters()),
            trainable_parameter_bytes=_nbytes(p for p in layer.parameters() if p.requires_grad),
            buffer_bytes=_nbytes(layer.buffers()),
        )
        for index, layer in enumerate(measurement.layers)
    ]
    return Profile(
        schema_version=PROFILE_VERSION,
        model=job.model,
        data=job.data,
        loss=training.loss,
        optimizer=training.optimizer,
        dtype=training.dtype,
        micro_batch_size=training.micro_batch_size,
        source_sha256=source_sha256(folder),
        dataset=DatasetFacts(
            train_samples=dataset.train_samples, test_samples=dataset.test_samples, sha256=dataset.sha256
        ),
        host=f"{platform.machine()}, torch {torch.__version__}",
        host_cores=threads[-1],
        threads=threads,
        base_bytes=resident_memory.measure(),
        builds_whole_model=not only_own_layers,
        data_bytes=_cached_shards_bytes(dataset),
        input_bytes=_nbytes([inputs]),
        target_bytes=_nbytes([targets]),
        layers=layers,
        loss_profile=LossProfile(
            seconds=[significant(median(times.loss)) for times in by_threads],
            activation_bytes=kept.first_kept_bytes(len(layers)),
        ),
    )
