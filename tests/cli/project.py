"""A small real project for tests: a model that trains in a second, its data, and a manifest."""

from pathlib import Path
from typing import Any

import runtime.source
from runtime.dataset import load_dataset
from runtime.spec import DataSpec
from tests.manifests import make_manifest

MODEL = """
import os
import signal

import torch
from torch import nn


class Raising(nn.Module):
    def forward(self, x):
        raise RuntimeError("layer on \\x1b[31mfire")


class Dying(nn.Linear):
    def forward(self, x):
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def build(fail=False, die=False):
    last = Raising() if fail else Dying(8, 3) if die else nn.Linear(8, 3)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), last)
"""

DATA = """
import torch


def load():
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(96, 4, generator=generator)
    targets = inputs[:, :3].argmax(1)
    return {"train": (inputs[:64], targets[:64]), "test": (inputs[64:], targets[64:])}
"""


def write_training_project(folder: Path, **options: Any) -> Path:
    """A folder that ``funcpipe run`` can train from; ``options`` are ``make_manifest``'s. Returns the manifest's path.

    2 stages of 2 layers, 64 training and 32 test samples of 4 numbers in 3 classes.
    """
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "model.py").write_text(MODEL)
    (source / "data.py").write_text(DATA)
    manifest = make_manifest(
        **{
            "train_samples": 64,
            "test_samples": 32,
            "epochs": 2,
            "dataset_sha256": load_dataset(DataSpec(factory="data:load"), source).sha256,
            "source_hash": runtime.source.source_sha256(source),
            **options,
        }
    )
    path = folder / "manifest.json"
    path.write_text(manifest.to_json())
    return path
