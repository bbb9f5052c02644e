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


def changed(value, *path):
    def change(document):
        at = document
        for key in path[:-1]:
            at = at[key]
        if value is MISSING:
            del at[path[-1]]
        else:
            at[path[-1]] = value

    return change


MISSING = object()
BY_MEMORY = {"memory_mb": [1024, 3538], "threads": [1, 2]}


def by_memory(**changes):
    def change(document):
        document |= {**BY_MEMORY, **changes}
        for layer in document["layers"]:
            for name in ("forward_s", "backward_s"):
                layer[name] *= 2
                layer["per_sample"][name] *= 2
        document["loss_profile"]["seconds"] *= 2
        document["loss_profile"]["per_sample"]["seconds"] *= 2

    return change


def test_a_profile_by_memory_size_is_one():
    document = json.loads(sized().to_json())
    by_memory()(document)
    profile = parse_profile(json.dumps(document), "p.json")
    assert profile.seconds_at([2.0, 1.0], 1024, 0.5) == 2.0
    assert profile.seconds_at([2.0, 1.0], 3538, 2.0) == 1.0


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        (changed(-0.1, "layers", 1, "per_sample", "forward_s", 0), ["layers.1.per_sample.forward_s.0", "-0.1"]),
        (changed(float("nan"), "layers", 0, "per_sample", "output_bytes"), ["layers.0.per_sample.output_bytes"]),
        (changed(float("inf"), "loss_profile", "seconds", 0), ["loss_profile.seconds.0"]),
        (changed([0.01, 0.01], "layers", 0, "per_sample", "forward_s"), ["layers.0.per_sample.forward_s", "threads"]),
        (changed([0.1] * 3, "layers", 0, "forward_iqr_s"), ["layers.0.forward_iqr_s"]),
        (changed([0.5], "layers", 0, "per_sample", "forward_s"), ["more than the figure itself", "0.5", "0.1"]),
        (
            changed(1e9, "layers", 1, "per_sample", "activation_bytes"),
            ["layers.1.per_sample.activation_bytes", "2097152"],
        ),
        (changed(MISSING, "layers", 1, "per_sample"), ["belong together", "layers.1.per_sample: none"]),
        (changed(MISSING, "loss_profile", "per_sample"), ["loss_profile.per_sample: none"]),
        (changed(MISSING, "sizes"), ["sizes: none"]),
        (changed([8, 4, 16], "sizes", "measured"), ["measured must ascend", "[8, 4, 16]"]),
        (changed([8], "sizes", "measured"), ["sizes.measured"]),
        (changed(20, "sizes", "held_out"), ["held_out must lie between", "20", "[4, 8, 16]"]),
        (changed(8, "sizes", "held_out"), ["held_out must lie between"]),
        (changed(-1, "sizes", "time_error"), ["sizes.time_error", "-1"]),
        (changed(32, "micro_batch_size"), ["32", "[4, 8, 16]"]),
        (changed(0, "micro_batch_size"), ["micro_batch_size", "given: 0"]),
        (changed([2, 1], "threads"), ["threads must ascend from 1", "[2, 1]"]),
        (changed([], "layers"), ["layers"]),
        (changed("Linear!", "layers", 0, "module"), ["layers.0.module", "Linear!"]),
        (changed("8", "layers", 0, "output_bytes"), ["layers.0.output_bytes", "'8'"]),
        (changed(10**9, "layers", 0, "trainable_parameter_bytes"), ["trainable_parameter_bytes", "4194304"]),
        (changed(MISSING, "layers", 0, "backward_s"), ["layers.0.backward_s"]),
        (changed(True, "schema_version"), ["schema_version is True", "1 and 2"]),
        (changed(3, "schema_version"), ["schema_version is 3", "1 and 2"]),
        (changed(MISSING, "schema_version"), ["schema_version is None"]),
        (by_memory(memory_mb=[3538, 1024]), ["memory_mb must ascend", "[3538, 1024]"]),
        (by_memory(memory_mb=[1024]), ["one entry per entry of memory_mb", "[1024]"]),
        (by_memory(threads=[2, 1]), ["threads must not descend", "[2, 1]"]),
        (by_memory(memory_mb=[64, 1024]), ["memory_mb.0", "64"]),
    ],
)
def test_wrong_profiles_are_refused_with_the_key_both_values_and_the_next_step(change, mentions):
    document = json.loads(sized().to_json())
    change(document)
    with pytest.raises(UserInputError) as caught:
        parse_profile(json.dumps(document), "p.json")
    for text in ["p.json", "funcpipe profile", *mentions]:
        assert text in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_profile_at_all_is_refused(content):
    with pytest.raises(UserInputError, match=r"p\.json.*funcpipe profile"):
        parse_profile(content, "p.json")
