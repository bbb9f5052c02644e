"""One plain torch process that trains a job on the same global batches as a pipeline: what every plan must equal.

Written from the documented contract (README, "What a run computes") and on purpose not from the code under test: the
order of samples, the random seeds and the batches are worked out here once more, with nothing imported but the
validated training section.

    per iteration:  zero_grad;  for each micro-batch:  (loss · its share of the global batch).backward();  step
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime.spec import TrainingSpec

_SHARD_BYTES = 8 * 1024 * 1024
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "mse": functional.mse_loss,
}
_OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Trained:
    """``losses``: mean over the samples of each global batch, before its step. ``weights``: the final state_dict."""

    losses: list[float]
    weights: dict[str, Tensor]


def seed_of(*parts: object) -> int:
    """63 bits of SHA-256 over the parts joined by "/"."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()
    return int(digest[:16], 16) // 2


def sample_order(seed: int, epoch: int, samples: int, samples_per_shard: int) -> Tensor:
    """Shuffled shards of consecutive samples, shuffled inside: int64 [samples]."""
    generator = torch.Generator().manual_seed(seed_of(seed, "order", epoch))
    shards = torch.arange(samples).split(samples_per_shard)
    order = [shards[number] for number in torch.randperm(len(shards), generator=generator)]
    return torch.cat([shard[torch.randperm(len(shard), generator=generator)] for shard in order])


def _forward(model: nn.Sequential, value: Tensor, seed: int, iteration: int, micro_batch: int) -> Any:
    for number, layer in enumerate(model):
        torch.manual_seed(seed_of(seed, "layer", number, iteration, micro_batch))
        value = layer(value)
    return value


def _as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def train(factory: Callable[[], nn.Sequential], inputs: Tensor, targets: Tensor, training: TrainingSpec) -> Trained:
    """Trains ``factory()`` on ``inputs`` and ``targets`` [samples, ...] as ``training`` says, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(factory, inputs, targets, training)
    finally:
        torch.set_num_threads(threads)


def _train(factory: Callable[[], nn.Sequential], inputs: Tensor, targets: Tensor, training: TrainingSpec) -> Trained:
    dtype = _DTYPES[training.dtype.value]
    torch.manual_seed(training.seed)
    model = factory().to(dtype).train()
    optimizer = _OPTIMIZERS[training.optimizer.name](
        model.parameters(), **training.optimizer.model_dump(exclude={"name"})
    )
    loss_function = _LOSSES[training.loss]
    sample_bytes = sum(tensor[0].nbytes for tensor in (inputs, targets))
    samples_per_shard = _SHARD_BYTES // sample_bytes
    losses: list[float] = []
    epoch = 0
    while True:
        order = sample_order(training.seed, epoch, len(inputs), samples_per_shard)
        for batch in order.split(training.global_batch_size):
            if training.epochs is None and len(losses) == training.iterations:
                return Trained(losses, model.state_dict())
            optimizer.zero_grad()
            total = 0.0
            for number, rows in enumerate(batch.split(training.micro_batch_size)):
                output = _forward(model, _as_dtype(inputs[rows], dtype), training.seed, len(losses), number)
                loss = loss_function(output, _as_dtype(targets[rows], dtype)) * (len(rows) / len(batch))
                loss.backward()
                total += loss.item()
            optimizer.step()
            losses.append(total)
        epoch += 1
        if epoch == training.epochs:
            return Trained(losses, model.state_dict())


def relative_error(measured: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest, over the tensors, of ‖measured − expected‖₂ / ‖expected‖₂; the names must be the same."""
    assert measured.keys() == expected.keys()
    errors = [
        torch.linalg.vector_norm((measured[name] - tensor).double())
        / torch.linalg.vector_norm(tensor.double()).clamp(min=torch.finfo(torch.float64).tiny)
        for name, tensor in expected.items()
    ]
    return max(error.item() for error in errors)
