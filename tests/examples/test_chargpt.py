"""The chargpt example: its data, and that its model is causal and learns more than letter frequencies."""

import tomllib
from types import ModuleType

import numpy as np
import pytest
import torch

from runtime.spec import TrainingSpec
from tests.examples.modules import EXAMPLES
from tests.parity.oracle import train

JOB = tomllib.loads((EXAMPLES / "chargpt" / "job.toml").read_text())


def test_the_data_are_deterministic_and_a_target_is_the_next_character(chargpt_data: ModuleType) -> None:
    first, second = (chargpt_data.standard_library(characters=50_000) for _ in range(2))
    for part in ("train", "test"):
        for ours, again in zip(first[part], second[part], strict=True):
            assert ours.dtype == np.int64 and ours.min() >= 0 and ours.max() < chargpt_data.SYMBOLS
            np.testing.assert_array_equal(ours, again)
        inputs, targets = first[part]
        np.testing.assert_array_equal(inputs.flatten()[1:], targets.flatten()[:-1])


def test_the_held_out_text_comes_after_the_training_text(chargpt_data: ModuleType) -> None:
    data = chargpt_data.standard_library(characters=50_000)
    text = chargpt_data.standard_library_text(50_000)
    (inputs, _), (test_inputs, _) = data["train"], data["test"]
    assert (len(inputs), len(test_inputs)) == (742, 39)
    np.testing.assert_array_equal(np.concatenate([inputs.flatten(), test_inputs.flatten()]), text[: 781 * 64])


def test_more_text_than_there_is_names_both_figures(chargpt_data: ModuleType) -> None:
    with pytest.raises(FileNotFoundError, match=r"has \d+ characters of module sources, 1000000000 are wanted"):
        chargpt_data.standard_library_text(1_000_000_000)


def test_the_model_builds_without_memory(chargpt_model: ModuleType) -> None:
    with torch.device("meta"):
        model = chargpt_model.gpt()
    assert len(model) == 8
    assert all(parameter.is_meta for parameter in model.parameters())


def test_heads_must_divide_the_width(chargpt_model: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"width: 10, heads: 4"):
        chargpt_model.gpt(width=10, heads=4)


def test_a_score_does_not_depend_on_later_characters(chargpt_model: ModuleType) -> None:
    torch.manual_seed(0)
    model = chargpt_model.gpt(context=16, width=16, heads=2, blocks=2).eval()
    text = torch.randint(0, 128, (3, 16))
    changed = text.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 128
    with torch.no_grad():
        before, after = model(text), model(changed)
    assert before.shape == (3, 128, 16)
    torch.testing.assert_close(before[:, :, :10], after[:, :, :10], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, :, 10:], after[:, :, 10:])


def test_it_learns_more_than_letter_frequencies(chargpt_model: ModuleType, chargpt_data: ModuleType) -> None:
    inputs, targets = map(torch.from_numpy, chargpt_data.standard_library(context=32, characters=200_000)["train"])
    training = TrainingSpec.model_validate(
        JOB["training"] | {"iterations": 80, "global_batch_size": 32, "micro_batch_size": 32}
    )
    losses = train(
        lambda: chargpt_model.gpt(context=32, width=48, blocks=2, dropout=0.0), inputs, targets, training
    ).losses
    shares = torch.bincount(targets.flatten()).double() / targets.numel()
    entropy = -torch.special.xlogy(shares, shares).sum().item()
    assert sum(losses[-10:]) / 10 < entropy - 0.4
