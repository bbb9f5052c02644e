"""The trained weights of a run as one file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from runtime.checkpoint import last_commit, load_weights
from runtime.errors import UserInputError
from runtime.store import Store


@dataclass(frozen=True)
class Exported:
    """A file of weights: ``parameters`` counts the elements of all its tensors."""

    path: Path
    iteration: int
    tensors: int
    parameters: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}


def export_weights(store: Store, run: str, path: Path) -> Exported:
    """Writes the last committed weights of ``run`` to ``path``, under the names of the model's state_dict.

    The file appears whole or not at all; one that is there is replaced.

    Raises:
        UserInputError: ``path`` cannot be written.
        FuncpipeError: the checkpoint is missing or damaged.
    """
    iteration = last_commit(store, run).iteration
    weights = {name: tensor.contiguous() for name, tensor in load_weights(store, run).items()}
    temporary = path.with_name(f".{path.name}.incoming")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb"):  # says in Python's words what safetensors would say in Rust's
            pass
        save_file(weights, temporary, metadata={"format": "pt", "run": run, "iteration": str(iteration)})
        os.replace(temporary, path)
        size = path.stat().st_size
    except (OSError, SafetensorError) as error:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise UserInputError(f"{path}: {reason}. Choose another file with --output.") from None
    return Exported(path, iteration, len(weights), sum(tensor.numel() for tensor in weights.values()), size)
