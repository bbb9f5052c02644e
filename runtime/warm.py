"""What a warm environment still holds of its last segment: one stage's layers and their optimiser.

Lambda keeps an environment after an invocation, and the next segment of the same stage often runs in it. The layers
then are in memory already, and ``runtime.checkpoint`` reads only those whose state is not what the commit lists: their
content tells, so nothing depends on which run or replica the environment served before. A worker takes what is held and
gives it back when its segment has ended well: after a failure nothing is held, and two stages never are.
"""

import gc
import hashlib
import threading
from dataclasses import dataclass

import torch
from torch import nn

from runtime.manifest import Manifest


@dataclass(frozen=True)
class Held:
    """A stage's layers and optimiser; ``identity`` says of which code and settings they were made."""

    identity: str
    layers: nn.Sequential
    optimizer: torch.optim.Optimizer | None


class Hold:
    """Room for what one worker leaves to the next one of its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Held | None = None

    def take(self, identity: str) -> Held | None:
        """What is held, if it is of that identity; in any case it is not held any more, and its memory is free."""
        with self._lock:
            held, self._held = self._held, None
        if held is None or held.identity == identity:
            return held
        del held
        gc.collect()  # a worker's objects refer to one another in circles
        return None

    def keep(self, held: Held) -> None:
        with self._lock:
            self._held = held


PROCESS = Hold()
"""This process's own: the one thing that outlives an invocation."""


def identity(manifest: Manifest, stage: int) -> str:
    """Name of everything that a stage's layers and optimiser are made of, apart from their state."""
    cut, training = manifest.stages[stage], manifest.training
    parts = (
        manifest.hashes.source,
        manifest.package.source,
        manifest.model.model_dump_json(),
        training.optimizer.model_dump_json(),
        training.dtype,
        f"{cut.first_layer}-{cut.end_layer}",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
