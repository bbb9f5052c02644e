"""A model whose first layer takes as long as one asks for, and data for it."""

import time

import torch
from torch import nn


class Slow(nn.Linear):
    def __init__(self, width: int, seconds: float) -> None:
        super().__init__(width, width)
        self.seconds = seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return super().forward(x)


def build(layers: int, seconds: float, width: int = 16) -> nn.Sequential:
    return nn.Sequential(Slow(width, seconds), *(nn.Linear(width, width) for _ in range(layers - 1)))


def data(width: int = 16) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, width, generator=generator)
    return {"train": (inputs, inputs[:, :3].argmax(1)), "test": (inputs[:8], inputs[:8, :3].argmax(1))}
