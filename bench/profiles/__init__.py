"""The models that plans are compared on, as jobs, and their profiles: JSON files in this folder.

``python -m bench.profiles`` measures them again; ``measured.json`` says when and on what machine each was measured.
"""

import json
from pathlib import Path
from typing import Any

from planner.job import Job
from planner.profile_format import Profile, load_profile
from runtime.errors import UserInputError

FOLDER = Path(__file__).parent
SOURCE = FOLDER.parent / "models"
MEASURED = FOLDER / "measured.json"
MICRO_BATCH_SIZE = 4
TOKENS = 64
"""Of a sentence pair for BERT."""

_IMAGES = {"factory": "samples:images"}
_SENTENCES = {"factory": "samples:sentences", "args": {"tokens": TOKENS}}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "resnet101": ({"factory": "resnet:resnet101"}, _IMAGES),
    "amoebanet_d18": ({"factory": "amoebanet:amoebanet_d", "args": {"normal_cells": 18, "filters": 256}}, _IMAGES),
    "amoebanet_d36": ({"factory": "amoebanet:amoebanet_d", "args": {"normal_cells": 36, "filters": 256}}, _IMAGES),
    "bert_large": ({"factory": "bert:bert_large"}, _SENTENCES),
}
"""Model and data of each job, as a job file has them."""


def job_of(name: str, global_batch_size: int = MICRO_BATCH_SIZE, **limits: Any) -> Job:
    """The job of one of ``MODELS``: plain SGD, so that there is no optimiser state, as in FuncPipe's formula."""
    model, data = MODELS[name]
    return Job.model_validate(
        {
            "name": name.replace("_", "-"),
            "model": model,
            "data": data,
            "training": {
                "loss": "cross_entropy",
                "optimizer": {"name": "sgd", "lr": 0.01},
                "global_batch_size": global_batch_size,
                "micro_batch_size": MICRO_BATCH_SIZE,
                "iterations": 1_000,
            },
            "limits": limits,
        }
    )


def profile_path(name: str) -> Path:
    """Where the profile of one of ``MODELS`` is."""
    return FOLDER / f"{name}.json"


def profile_of(name: str) -> Profile:
    """The profile of one of ``MODELS``. Raises UserInputError when it is not there or cannot be read."""
    path = profile_path(name)
    if not path.is_file():
        raise UserInputError(
            f"{path}: {name} has not been measured. Measure it with `python -m bench.profiles {name}`."
        )
    return load_profile(path)


def measured_models() -> tuple[str, ...]:
    """Those of ``MODELS`` that have a profile."""
    return tuple(name for name in MODELS if profile_path(name).is_file())


def measured() -> dict[str, dict[str, Any]]:
    """Of each profile ``date`` and ``machine``."""
    return json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
