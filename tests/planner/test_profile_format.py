"""A profile at other micro-batch sizes, and what a profile file must say."""

import json

import pytest

from planner.profile_format import Profile, parse_profile
from runtime.errors import UserInputError
from tests.planner.profiles import make_layer, make_profile

PER_SAMPLE = {
    "forward_s": [0.01],
    "backward_s": [0.02],
    "output_bytes": 1000.0,
    "gradient_bytes": 500.0,
    "activation_bytes": 2000.0,
    "shared_input_bytes": 0.0,
}
SIZES = {"measured": [4, 8, 16], "held_out": 12, "time_error": 0.05, "bytes_error": 0.0}


def sized() -> Profile:
    return make_profile(
        [make_layer(per_sample=PER_SAMPLE), make_layer(per_sample=PER_SAMPLE)],
        schema_version=2,
        sizes=SIZES,
        loss_profile={
            "seconds": [0.001],
            "activation_bytes": 1000,
            "per_sample": {"seconds": [0.0001], "activation_bytes": 100},
        },
    )


def test_every_figure_follows_its_line():
    own, other = sized(), sized().at(12)
    assert other.micro_batch_size == 12
    assert other.layers[0].forward_s == pytest.approx([0.1 + 4 * 0.01])
    assert other.layers[1].backward_s == pytest.approx([0.2 + 4 * 0.02])
    assert other.layers[0].output_bytes == own.layers[0].output_bytes + 4000
    assert other.layers[0].gradient_bytes == own.layers[0].gradient_bytes + 2000
    assert other.layers[0].activation_bytes == own.layers[0].activation_bytes + 8000
    assert other.layers[0].parameter_bytes == own.layers[0].parameter_bytes
    assert (other.input_bytes, other.target_bytes) == (own.input_bytes * 12 // 8, 96)
    assert other.loss_profile.seconds == pytest.approx([0.0014])
    assert other.loss_profile.activation_bytes == 1400
    assert other.at(8).layers[0].forward_s == pytest.approx(own.layers[0].forward_s)


def test_its_own_size_is_what_was_measured():
    profile = sized()
    assert profile.at(8) is profile
    assert make_profile([make_layer()]).at(8).size_range == (8, 8)


@pytest.mark.parametrize(("profile", "asked", "known"), [(sized(), 17, "4 to 16"), (sized(), 3, "4 to 16")])
def test_no_figures_outside_of_what_was_measured(profile, asked, known):
    with pytest.raises(UserInputError, match=rf"{known} samples \(asked for: {asked}\).*--micro-batch-sizes"):
        profile.at(asked)


def test_a_profile_of_one_size_knows_no_other():
    with pytest.raises(UserInputError, match=r"8 samples only \(asked for: 4\)"):
        make_profile([make_layer()]).at(4)


def test_a_profile_of_version_1_keeps_its_digest():
    profile = make_profile([make_layer()])
    document = json.loads(profile.to_json())
    assert "sizes" not in document and "per_sample" not in document["layers"][0]
    assert parse_profile(profile.to_json(), "p.json") == profile
    assert parse_profile(sized().to_json(), "p.json") == sized()
