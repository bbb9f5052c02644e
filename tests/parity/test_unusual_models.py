"""Parity where a boundary carries more than one float tensor, or a layer has something special about it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures.source import unusual
from tests.gangs import FixtureRun
from tests.parity import oracle
from tests.parity.oracle import Trained
from tests.parity.runs import ADAMW, SGD, worst_error

BOUND = 1e-10


def _train(
    root: Path, model: str, data: str, layers: list[int], replicas: list[int], **options: Any
) -> tuple[Trained, Trained]:
    """(the plan's outcome, the oracle's): MSE, float64, batches of 16, 16 and 12 samples, micro-batches of 6."""
    run = FixtureRun(
        root,
        model=f"unusual:{model}",
        data=f"unusual:{data}",
        loss="mse",
        optimizer=ADAMW if model == "residual" else SGD,
        layers=layers,
        replicas=replicas,
        global_batch_size=16,
        micro_batch_size=6,
        iterations=5,
        seed=3,
        dtype="float64",
        **options,
    ).train()
    assert run.inbox_objects == []
    expected = oracle.train(getattr(unusual, model), *getattr(unusual, data)()["train"], run.manifest.training)
    return Trained(run.losses, run.weights), expected


@pytest.mark.parametrize(
    ("model", "data", "layers", "replicas"),
    [
        ("residual", "numbers", [2, 2, 2, 2], [1, 2, 1, 1]),  # cuts inside the skip connection and the dictionary
        ("residual", "numbers", [1, 1, 1, 3, 2], [2, 1, 3, 1, 1]),
        ("recurrent", "sequences", [2, 2], [1, 2]),
        ("recurrent", "sequences", [1, 1, 1, 1], [2, 1, 1, 1]),
        ("frozen_start", "numbers", [2, 3], [2, 1]),
        ("frozen_start", "numbers", [1, 2, 2], [1, 4, 1]),  # more replicas than micro-batches
        ("own_class", "numbers", [1, 2], [2, 1]),
        ("tied_inside", "numbers", [1, 2, 1], [1, 2, 1]),
        ("list_of_tensors", "numbers", [1, 2], [1, 1]),
    ],
)
def test_float64_equals_plain_torch(
    model: str, data: str, layers: list[int], replicas: list[int], tmp_path: Path
) -> None:
    assert worst_error(*_train(tmp_path, model, data, layers, replicas)) <= BOUND


def test_batch_norm_sees_one_micro_batch_and_its_statistics_are_those_of_replica_0(tmp_path: Path) -> None:
    alone, expected = _train(tmp_path / "alone", "normalised", "numbers", [2, 2], [1, 2])
    assert worst_error(alone, expected) <= BOUND  # one replica has seen every micro-batch: the buffers agree, too

    shared, _ = _train(tmp_path / "shared", "normalised", "numbers", [2, 2], [2, 1])
    trained = {name for name, _ in unusual.normalised().named_parameters()}
    for name in trained:
        torch.testing.assert_close(shared.weights[name], expected.weights[name], rtol=BOUND, atol=BOUND)
    # Micro-batches 0 and 2 of three (four batches), and 0 of two (one batch; the others have three).
    assert int(expected.weights["1.num_batches_tracked"]) == 3 + 3 + 2 + 3 + 3
    assert int(shared.weights["1.num_batches_tracked"]) == 2 + 2 + 1 + 2 + 2


@pytest.mark.parametrize(
    ("model", "data", "layers", "replicas"),
    [
        ("residual", "numbers", [2, 2, 2, 2], [1, 2, 1, 1]),
        ("recurrent", "sequences", [1, 1, 1, 1], [2, 1, 1, 1]),
        ("frozen_start", "numbers", [1, 2, 2], [1, 4, 1]),  # in-place layers first, a worker without micro-batch
        ("normalised", "numbers", [1, 2, 1], [2, 1, 1]),
        ("tied_inside", "numbers", [1, 2, 1], [1, 2, 1]),
    ],
)
def test_one_forward_one_backward_with_recomputation(
    model: str, data: str, layers: list[int], replicas: list[int], tmp_path: Path
) -> None:
    measured, expected = _train(tmp_path, model, data, layers, replicas, schedule="1f1b", recompute=True)
    assert worst_error(measured, expected) <= BOUND


def test_exported_weights_load_into_the_plain_model(tmp_path: Path) -> None:
    measured, _ = _train(tmp_path, "normalised", "numbers", [1, 2, 1], [1, 1, 1])
    model = unusual.normalised().double()
    model.load_state_dict(measured.weights, strict=True)


def test_buffers_outside_the_state_dict_are_not_exported(tmp_path: Path) -> None:
    measured, _ = _train(tmp_path, "tied_inside", "numbers", [2, 2], [1, 1])
    unusual.tied_inside().double().load_state_dict(measured.weights, strict=True)
