"""The user's data set: made by its factory, checked, and named by a digest. On the user's machine only."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from runtime.errors import UserInputError
from runtime.factories import call
from runtime.spec import DataSpec


@dataclass(frozen=True)
class Dataset:
    """Inputs and targets, [samples, ...] each; the test split may be absent (None)."""

    train_inputs: torch.Tensor
    train_targets: torch.Tensor
    test_inputs: torch.Tensor | None
    test_targets: torch.Tensor | None
    sha256: str

    @property
    def train_samples(self) -> int:
        return len(self.train_inputs)

    @property
    def test_samples(self) -> int:
        return 0 if self.test_inputs is None else len(self.test_inputs)


def _tensor(value: Any, what: str) -> torch.Tensor:
    if isinstance(value, numpy.ndarray):
        try:
            value = torch.from_numpy(numpy.ascontiguousarray(value).copy())
        except TypeError as error:
            raise UserInputError(f"{what}: {error}") from None
    if not isinstance(value, torch.Tensor):
        raise UserInputError(f"{what}: must be a tensor or a numpy array (returned: {type(value).__name__})")
    if value.ndim == 0:
        raise UserInputError(f"{what}: the first dimension must count samples (shape: {tuple(value.shape)})")
    return value.detach().to("cpu").contiguous()


def _pair(split: Any, what: str) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise UserInputError(f"{what}: must be a pair (inputs, targets) (returned: {type(split).__name__})")
    inputs, targets = _tensor(split[0], f"{what} inputs"), _tensor(split[1], f"{what} targets")
    if len(inputs) != len(targets):
        raise UserInputError(f"{what}: as many inputs as targets (inputs: {len(inputs)}, targets: {len(targets)})")
    return inputs, targets


def _digest(tensors: list[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b"")
    return digest.hexdigest()


def load_dataset(spec: DataSpec, source: Path) -> Dataset:
    """Calls the data factory.

    Raises:
        UserInputError: the factory cannot be resolved or fails, or what it returns is not of ``DataSpec``'s form.
    """
    made = call(spec.factory, source, "data.factory", spec.args)
    what = f"data.factory = {spec.factory!r}"
    if not isinstance(made, dict) or "train" not in made or not set(made) <= {"train", "test"}:
        keys = sorted(made) if isinstance(made, dict) else type(made).__name__
        raise UserInputError(f'{what}: must return {{"train": (inputs, targets), "test": ...}} (returned: {keys})')
    inputs, targets = _pair(made["train"], f'{what}: "train"')
    if len(inputs) == 0:
        raise UserInputError(f'{what}: "train" has no sample')
    tensors = [inputs, targets]
    test: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    if made.get("test") is not None:
        test_inputs, test_targets = _pair(made["test"], f'{what}: "test"')
        if len(test_inputs):
            test = (test_inputs, test_targets)
            tensors += [test_inputs, test_targets]
    return Dataset(inputs, targets, *test, sha256=_digest(tensors))
