"""A small model in which one worker meets a fault by itself, at a known place: what no store can do to it."""

import os
import signal
import time

import torch
from torch import nn


class Struck(nn.Module):
    """Passes its input on. At its forward pass number ``call`` (from 1), the first worker to come there meets ``how``.

    It leaves the file ``marker``, and whoever finds it is spared: another replica, the next attempt.
    """

    def __init__(self, how: str, call: int, marker: str) -> None:
        super().__init__()
        self.how, self.call, self.marker, self.calls = how, call, marker, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.call and _first_to_leave(self.marker):
            _meet(self.how)
        return x


def _first_to_leave(marker: str) -> bool:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _meet(how: str) -> None:
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "exception":
            raise ValueError("struck")
        case "slow worker":
            time.sleep(1.5)
        case "long layer":
            time.sleep(3600)
        case "clock ahead" | "clock behind":
            shift, true_time = (3600.0 if how == "clock ahead" else -3600.0), time.time
            time.time = lambda: true_time() + shift


def build(layer: int = 0, how: str = "nothing", call: int = 0, marker: str = "") -> nn.Sequential:
    """Six layers, of which ``layer`` is preceded by the fault, and all others by nothing, under the same names."""
    layers = [nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Dropout(0.1), nn.Linear(8, 8), nn.Linear(8, 3)]
    calls = [call if index == layer else 0 for index in range(len(layers))]
    return nn.Sequential(
        *(nn.Sequential(Struck(how, calls[index], marker), module) for index, module in enumerate(layers))
    )


def data() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(64, 6, generator=generator)
    return {"train": (inputs, inputs[:, :3].argmax(1)), "test": (inputs[:8], inputs[:8, :3].argmax(1))}
