"""How well a run's weights do on the data set's test split, which training never sees."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from runtime.checkpoint import load_tensors
from runtime.dataset import load_dataset
from runtime.errors import FuncpipeError
from runtime.factories import TORCH_DTYPES, Loss, build_loss, build_model
from runtime.manifest import Manifest
from runtime.store import Store

BATCH = 256
"""Samples evaluated at a time."""


@dataclass(frozen=True)
class Evaluation:
    """Figures over the whole test split; ``accuracy`` is None where targets are no classes."""

    samples: int
    loss: float
    accuracy: float | None


def evaluate(manifest: Manifest, source: Path, store: Store, run: str) -> Evaluation | None:
    """The newest committed weights of ``run`` on the held-out samples; None when the data set has none.

    Args:
        source: the package's folder; its factories make the model and the data.

    Raises:
        UserInputError: a factory cannot be resolved or fails.
        FuncpipeError: the checkpoint is missing, damaged, or of another model; or the model fails on the samples.
    """
    dataset = load_dataset(manifest.data, source)
    if dataset.test_inputs is None or dataset.test_targets is None:
        return None
    training = manifest.training
    model = build_model(manifest.model, source, training.seed, training.dtype)
    _fill(model, load_tensors(store, run))
    loss = build_loss(training.loss, source)
    try:
        return _measure(model.eval(), loss, dataset.test_inputs, dataset.test_targets, TORCH_DTYPES[training.dtype])
    except Exception as error:  # the user's layers and loss may raise anything
        raise FuncpipeError(
            f"the model raised {type(error).__name__} on the test split: {error}. "
            "It must accept the test inputs as it accepts the training inputs."
        ) from error


def _fill(model: nn.Sequential, weights: dict[str, torch.Tensor]) -> None:
    """Puts ``weights`` into the model, with the buffers that are not in its state_dict."""
    targets = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    if missing := sorted(set(targets) ^ set(weights)):
        raise FuncpipeError(
            f"the weights are not those of this model: {missing[0]!r} is on one side only "
            f"(tensors in the model: {len(targets)}, in the checkpoint: {len(weights)})"
        )
    with torch.no_grad():
        for name, target in targets.items():
            if target.shape != weights[name].shape:
                raise FuncpipeError(
                    f"the weights are not those of this model: {name!r} has shape {tuple(target.shape)} in the model, "
                    f"{tuple(weights[name].shape)} in the checkpoint"
                )
            target.copy_(weights[name])


@torch.no_grad()
def _measure(
    model: nn.Sequential, loss: Loss, inputs: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
) -> Evaluation:
    total, right, classified = 0.0, 0, 0
    for start in range(0, len(inputs), BATCH):
        given, wanted = _as_trained(inputs[start : start + BATCH], dtype), targets[start : start + BATCH]
        wanted = _as_trained(wanted, dtype)
        output = model(given)
        total += float(loss(output, wanted)) * len(given)
        if isinstance(output, torch.Tensor) and _are_classes(output, wanted):
            right += int((output.argmax(dim=1) == wanted).sum())
            classified += wanted.numel()
    return Evaluation(len(inputs), total / len(inputs), right / classified if classified else None)


def _as_trained(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Numbers in the training's dtype, as the workers convert them; integers as they are."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _are_classes(output: torch.Tensor, targets: torch.Tensor) -> bool:
    """Whether ``targets`` [N, ...] are the indices of classes that ``output`` [N, classes, ...] scores."""
    return not targets.is_floating_point() and output.ndim >= 2 and output.shape[:1] + output.shape[2:] == targets.shape
