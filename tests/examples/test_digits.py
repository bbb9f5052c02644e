"""The digits example in plain torch: what `make train` must reach through the pipeline is reached without it."""

import tomllib
from types import ModuleType

import numpy as np
import torch

from runtime.spec import TrainingSpec
from tests.examples.modules import EXAMPLES
from tests.parity.oracle import train

JOB = tomllib.loads((EXAMPLES / "digits" / "job.toml").read_text())


def test_the_split_is_stratified_disjoint_and_always_the_same(digits_data: ModuleType) -> None:
    first, second = digits_data.digits(), digits_data.digits()
    inputs, targets = first["train"]
    test_inputs, test_targets = first["test"]
    assert inputs.shape == (1437, 1, 8, 8) and inputs.dtype == np.float32 and targets.dtype == np.int64
    assert test_inputs.shape == (360, 1, 8, 8)
    assert inputs.min() >= 0 and inputs.max() == 1
    for part in ("train", "test"):
        for ours, again in zip(first[part], second[part], strict=True):
            np.testing.assert_array_equal(ours, again)
    assert not {image.tobytes() for image in inputs} & {image.tobytes() for image in test_inputs}
    shares = np.bincount(targets) / len(targets), np.bincount(test_targets) / len(test_targets)
    assert np.abs(shares[0] - shares[1]).max() < 1 / len(test_targets) * 1.5


def test_another_seed_holds_out_other_images(digits_data: ModuleType) -> None:
    ours, other = digits_data.digits()["test"][0], digits_data.digits(split_seed=1)["test"][0]
    assert not np.array_equal(ours, other)


def test_the_model_builds_without_memory(digits_model: ModuleType) -> None:
    with torch.device("meta"):
        model = digits_model.convolutional_network()
    assert all(parameter.is_meta for parameter in model.parameters())


def test_the_job_as_written_reaches_its_accuracy_in_plain_torch(
    digits_model: ModuleType, digits_data: ModuleType
) -> None:
    data = {part: tuple(map(torch.from_numpy, pair)) for part, pair in digits_data.digits().items()}

    def build() -> torch.nn.Sequential:
        return digits_model.convolutional_network(**JOB["model"]["args"])

    trained = train(build, *data["train"], TrainingSpec.model_validate(JOB["training"]))
    model = build().eval()
    model.load_state_dict(trained.weights)
    inputs, targets = data["test"]
    with torch.no_grad():
        accuracy = (model(inputs).argmax(1) == targets).double().mean().item()
    assert len(trained.losses) == 144
    assert accuracy >= 0.97
