"""Losses and final weights of a pipelined run equal those of one plain torch process, whatever the plan.

Relative errors, the largest over iterations (losses) and tensors (weights); see ``oracle.relative_error``:

    float64   1e-10  every optimiser
    float32   1e-5   SGD
    float32   2e-3   Adam, AdamW: a step has length lr whatever the gradient's length, so that an element whose gradient
                     is nearly 0 turns rounding (the order of additions) into a visible part of lr. Measured: 2e-4 on
                     the GPT, whose key biases have no gradient but rounding; 6e-8 on digits
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.schedule import ScheduleName
from runtime.spec import LossName, TrainingSpec
from runtime.synchronisation import Algorithm
from tests.parity.oracle import Trained
from tests.parity.runs import (
    ADAM,
    ADAMW,
    AMSGRAD,
    CHARGPT,
    DIGITS,
    NESTEROV,
    SGD,
    TWO_SHARDS,
    Example,
    plan,
    run_oracle,
    run_plan,
    summed_by,
    worst_error,
)

FLOAT64_BOUND = 1e-10
FLOAT32_SGD_BOUND = 1e-5
FLOAT32_ADAM_BOUND = 2e-3

# layers of each stage, replicas of each stage, optimiser, iterations of a segment (None: one segment)
PLANS: list[tuple[Example, list[int], list[int], dict[str, Any], int | None]] = [
    (DIGITS, [5], [1], SGD, None),
    (DIGITS, [5], [4], ADAM, 4),
    (DIGITS, [2, 3], [1, 1], ADAMW, 4),
    (DIGITS, [3, 2], [2, 3], SGD, 4),
    (DIGITS, [2, 2, 1], [1, 2, 1], ADAM, None),
    (DIGITS, [1, 2, 2], [3, 1, 2], ADAMW, 2),
    (DIGITS, [1, 1, 1, 2], [1, 1, 1, 1], NESTEROV, None),
    (DIGITS, [2, 1, 1, 1], [4, 3, 2, 1], AMSGRAD, 4),
    (DIGITS, [1, 1, 1, 1, 1], [2, 2, 2, 2, 2], SGD, None),
    (DIGITS, [1, 1, 1, 1, 1], [1, 2, 3, 4, 1], ADAMW, None),
    (CHARGPT, [5], [3], ADAM, 4),
    (CHARGPT, [2, 3], [2, 1], ADAMW, None),
    (CHARGPT, [1, 3, 1], [1, 4, 2], SGD, None),
    (CHARGPT, [1, 1, 2, 1], [2, 1, 3, 2], ADAMW, 3),
    (CHARGPT, [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], ADAM, None),
    (CHARGPT, [1, 1, 1, 1, 1], [4, 3, 2, 1, 4], SGD, None),
    (TWO_SHARDS, [1, 2], [2, 1], SGD, None),
]


def _name(value: object) -> str | None:
    match value:
        case Example():
            return value.folder
        case dict():
            return str(value["name"])
        case list():
            return "-".join(map(str, value))
    return None


def assert_same_bits(measured: Trained, expected: Trained) -> None:
    assert measured.losses == expected.losses
    assert measured.weights.keys() == expected.weights.keys()
    assert all(torch.equal(tensor, measured.weights[name]) for name, tensor in expected.weights.items())


@pytest.mark.parametrize(("example", "layers", "replicas", "optimizer", "segment"), PLANS, ids=_name)
def test_float64_equals_plain_torch(
    example: Example,
    layers: list[int],
    replicas: list[int],
    optimizer: dict[str, Any],
    segment: int | None,
    tmp_path: Path,
) -> None:
    options = plan(example, layers, replicas, optimizer, segment_iterations=segment)
    measured, training = run_plan(example, options, tmp_path)
    assert worst_error(measured, run_oracle(example, training)) <= FLOAT64_BOUND


@pytest.mark.parametrize(
    ("example", "optimizer", "bound"),
    [
        (DIGITS, SGD, FLOAT32_SGD_BOUND),
        (CHARGPT, SGD, FLOAT32_SGD_BOUND),
        (DIGITS, ADAM, FLOAT32_ADAM_BOUND),
        (CHARGPT, ADAMW, FLOAT32_ADAM_BOUND),
    ],
    ids=_name,
)
def test_float32_equals_plain_torch(example: Example, optimizer: dict[str, Any], bound: float, tmp_path: Path) -> None:
    measured, training = run_plan(example, plan(example, [1, 3, 1], [3, 2, 1], optimizer, dtype="float32"), tmp_path)
    assert all(tensor.dtype == torch.float32 for tensor in measured.weights.values())
    assert worst_error(measured, run_oracle(example, training)) <= bound


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_way_to_sum_equals_plain_torch(algorithm: Algorithm, tmp_path: Path) -> None:
    options = plan(DIGITS, [3, 2], [2, 3], SGD, segment_iterations=4)
    measured, training = run_plan(DIGITS, {**options, **summed_by(algorithm)}, tmp_path)
    assert worst_error(measured, run_oracle(DIGITS, training)) <= FLOAT64_BOUND


@pytest.mark.parametrize("example", [DIGITS, CHARGPT], ids=_name)
def test_all_ways_to_sum_give_the_same_bits(example: Example, tmp_path: Path) -> None:
    options = plan(example, [1, 3, 1], [3, 4, 2], SGD, dtype="float32")
    plain, *others = (
        run_plan(example, {**options, **summed_by(algorithm)}, tmp_path / algorithm)[0] for algorithm in Algorithm
    )
    for other in others:
        assert_same_bits(other, plain)


@pytest.fixture(scope="module", params=[DIGITS, CHARGPT], ids=_name)
def by_gpipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, Trained]:
    """An example, trained without anything special; near enough to plain torch."""
    example: Example = request.param
    trained, training = run_plan(example, _scheduled(example), tmp_path_factory.mktemp("gpipe"))
    assert worst_error(trained, run_oracle(example, training)) <= FLOAT32_SGD_BOUND
    return example, trained


def _scheduled(example: Example, **changes: Any) -> dict[str, Any]:
    replicas, micro_batch_size = ([2, 3, 1], 45) if example is DIGITS else ([1, 2, 1], 15)
    options = plan(example, [2, 2, 1], replicas, SGD, dtype="float32")
    return {**options, "micro_batch_size": micro_batch_size, "iterations": 4, **changes}


@pytest.mark.parametrize("recompute", [False, True, [True, False, True]], ids=["keep", "recompute", "mixed"])
@pytest.mark.parametrize("schedule", ScheduleName)
def test_all_schedules_give_the_same_bits(
    by_gpipe: tuple[Example, Trained], schedule: ScheduleName, recompute: bool | list[bool], tmp_path: Path
) -> None:
    """A replica's backward passes come in the order of micro-batches, so gradients are added up in the same order."""
    example, expected = by_gpipe
    # Each way to sum meets each schedule, with and without recomputation.
    every = example is DIGITS and isinstance(recompute, bool)
    ways = [summed_by(algorithm) for algorithm in Algorithm] if every else [{}]
    for number, way in enumerate(ways):
        changes = {"schedule": schedule.value, "recompute": recompute, **way}
        measured, _ = run_plan(example, _scheduled(example, **changes), tmp_path / str(number))
        assert_same_bits(measured, expected)


@pytest.mark.parametrize(("algorithm", "recompute"), [(Algorithm.PIECE_PIPELINED, False), (Algorithm.PIPELINED, True)])
def test_sums_in_buckets_behind_backward_give_the_same_bits(
    algorithm: Algorithm, recompute: bool, tmp_path: Path
) -> None:
    """Of the short batch's three micro-batches, one replica of the first stage has none."""
    options = {**plan(DIGITS, [3, 2], [4, 3], SGD, dtype="float32"), "recompute": recompute, **summed_by(algorithm)}
    whole, _ = run_plan(DIGITS, options, tmp_path / "whole")
    buckets, _ = run_plan(DIGITS, {**options, "bucket_bytes": 2048}, tmp_path / "buckets")
    assert buckets.losses == whole.losses
    assert all(torch.equal(tensor, buckets.weights[name]) for name, tensor in whole.weights.items())


@pytest.mark.parametrize("example", [DIGITS, CHARGPT], ids=_name)
def test_two_runs_of_one_plan_are_bit_equal(example: Example, tmp_path: Path) -> None:
    options = plan(example, [2, 2, 1], [2, 3, 2], ADAM, dtype="float32", segment_iterations=4)
    first, second = (run_plan(example, options, tmp_path / name)[0] for name in ("first", "second"))
    assert_same_bits(first, second)


def test_the_comparison_sees_another_seed_and_other_micro_batches() -> None:
    """The bounds are worth something: other dropout masks, or other weights of micro-batches, are far outside."""
    training = TrainingSpec(
        loss=LossName.CROSS_ENTROPY,
        optimizer=SGD,
        global_batch_size=DIGITS.global_batch_size,
        micro_batch_size=DIGITS.micro_batch_size,
        iterations=DIGITS.iterations,
    )
    expected = run_oracle(DIGITS, training)
    for change in ({"seed": 1}, {"micro_batch_size": training.micro_batch_size - 1}):
        assert worst_error(run_oracle(DIGITS, training.model_copy(update=change)), expected) > 1e3 * FLOAT32_SGD_BOUND
