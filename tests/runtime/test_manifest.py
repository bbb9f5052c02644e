"""The manifest's rules: what is valid survives unchanged; what is not is refused with key, value and next step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import UserInputError
from runtime.manifest import Manifest, json_schema, load_manifest, parse_manifest
from tests.manifests import make_manifest, manifest_document

ROOT = Path(__file__).resolve().parents[2]


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    layers = draw(st.lists(st.integers(1, 5), min_size=1, max_size=12))
    global_batch_size = draw(st.integers(1, 64))
    return {
        "layers": layers,
        "replicas": draw(st.lists(st.integers(1, 70), min_size=len(layers), max_size=len(layers))),
        "memory_mb": draw(st.lists(st.integers(128, 10_240), min_size=len(layers), max_size=len(layers))),
        "global_batch_size": global_batch_size,
        "micro_batch_size": draw(st.integers(1, global_batch_size)),
        "train_samples": draw(st.integers(1, 500)),
        "epochs": draw(st.integers(1, 5)),
        "segment_iterations": draw(st.integers(1, 40)),
    }


@given(plans())
def test_text_is_canonical(plan: dict[str, Any]) -> None:
    manifest = make_manifest(**plan)
    text = manifest.to_json()
    again = parse_manifest(text, "again")
    assert again == manifest and again.to_json() == text and again.sha256 == manifest.sha256
    shuffled = json.dumps(dict(reversed(json.loads(text).items())))
    assert parse_manifest(shuffled, "shuffled").to_json() == text


@given(plans())
def test_the_predicted_segments_cover_all_iterations(plan: dict[str, Any]) -> None:
    manifest = make_manifest(**plan)
    assert (manifest.segments - 1) * manifest.segment.iterations < manifest.iterations
    assert manifest.segments * manifest.segment.iterations >= manifest.iterations


def test_any_change_changes_the_digest() -> None:
    variants = [{}, {"replicas": 2}, {"memory_mb": 1025}, {"seed": 1}, {"timeout_s": 301}, {"source": "other"}]
    assert len({make_manifest(**variant).sha256 for variant in variants}) == len(variants)


def test_layers_label() -> None:
    manifest = make_manifest(layers=[1, 3])
    assert [stage.layers_label for stage in manifest.stages] == ["layer 0", "layers 1-3"]


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """An edit that sets the value at ``path``."""

    def edit(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return edit


def drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    """An edit that removes the key at ``path``."""

    def edit(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return edit


def both(*edits: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """One edit after the other."""

    def edit(document: dict[str, Any]) -> None:
        for one in edits:
            one(document)

    return edit


MALFORMED = [
    (put("schema_version", value=2), "schema_version is 2"),
    (put("schema_version", value="1"), "schema_version is '1'"),
    (drop("schema_version"), "schema_version is None"),
    (put("surprise", value=1), "surprise"),
    (put("stages", 0, "surprise", value=1), "stages.0.surprise"),
    (drop("iterations"), "iterations"),
    (put("name", value="Not A Name"), "name"),
    (put("name", value="ends-"), "name"),
    (put("stages", value=[]), "stages"),
    (put("stages", 0, "memory_mb", value=127), "stages.0.memory_mb: .*127"),
    (put("stages", 1, "memory_mb", value=10_241), "stages.1.memory_mb: .*10241"),
    (put("stages", 1, "memory_mb", value=1024.5), "stages.1.memory_mb: .*1024.5"),
    (put("stages", 1, "memory_mb", value=1024.0), "stages.1.memory_mb: .*1024.0"),
    (put("stages", 1, "memory_mb", value="1024"), "stages.1.memory_mb: .*'1024'"),
    (put("stages", 1, "replicas", value=True), "stages.1.replicas: .*True"),
    (put("stages", 0, "ephemeral_storage_mb", value=511), "stages.0.ephemeral_storage_mb: .*511"),
    (put("stages", 0, "replicas", value=0), "stages.0.replicas"),
    (put("stages", 0, "replicas", value=901), r"workers: 902, max_concurrency: 900"),
    (put("max_concurrency", value=901), "max_concurrency: .*901"),
    (put("max_concurrency", value=1), "workers: 2, max_concurrency: 1"),
    (
        both(put("stages", 1, "first_layer", value=3), put("stages", 1, "modules", value=["ReLU"])),
        "stage 1 should begin at layer 2 .*first_layer: 3",
    ),
    (
        both(put("stages", 1, "first_layer", value=1), put("stages", 1, "modules", value=["ReLU"] * 3)),
        "stage 1 should begin at layer 2 .*first_layer: 1",
    ),
    (put("stages", 0, "first_layer", value=-1), "stages.0.first_layer"),
    (put("stages", 0, "end_layer", value=3), r"layers 0 to 2, names: 2"),
    (put("stages", 0, "modules", value=["Linear", "no module"]), "stages.0.modules.1"),
    (put("segment", "timeout_s", value=901), "segment.timeout_s: .*901"),
    (put("segment", "timeout_s", value=0), "segment.timeout_s"),
    (put("segment", "iterations", value=0), "segment.iterations"),
    (put("segment", "stall_timeout_s", value=0), "segment.stall_timeout_s"),
    (put("iterations", value=99), r"iterations: 99, expected: 4"),
    (put("training", "iterations", value=4), "exactly one of epochs and iterations"),
    (put("training", "micro_batch_size", value=33), "micro_batch_size: 33, global_batch_size: 32"),
    (put("training", "optimizer", value={"name": "lion", "lr": 1.0}), "training.optimizer"),
    (put("training", "optimizer", "lr", value=-1), "training.optimizer.lr"),
    (put("training", "loss", value="not a loss"), "training.loss"),
    (put("training", "dtype", value="int8"), "training.dtype"),
    (put("training", "seed", value=-1), "training.seed"),
    (put("evaluation", "metric", value="beauty"), "evaluation.metric.*beauty"),
    (put("schedule", value="zigzag"), "schedule.*zigzag"),
    (put("stages", 0, "synchronisation", "algorithm", value="gossip"), "synchronisation.algorithm.*gossip"),
    (put("stages", 0, "synchronisation", "piece_bytes", value=1), "synchronisation.piece_bytes.*1024"),
    (put("wire", "activations", value="float8"), "wire.activations.*float8"),
    (put("wire", "weights", value="native"), "wire.weights"),
    (put("architecture", value="riscv"), "architecture.*riscv"),
    (put("on_destroy", value="maybe"), "on_destroy.*maybe"),
    (put("package", "source", value="/etc"), "package: .*'/etc'"),
    (put("package", "requirements", value=["--index-url=http://example.org"]), "package.requirements.0"),
    (put("package", "requirements", value=["git+https://example.org/x"]), "package.requirements.0"),
    (put("model", "factory", value="model.build"), "model.factory.*model.build"),
    (put("dataset", "train_samples", value=0), "dataset.train_samples"),
    (put("hashes", "source", value="C" * 64), "hashes.source"),
    (put("predicted", "iteration_s", value=float("nan")), "predicted.iteration_s"),
    (put("predicted", "usd_total", value=-0.5), "predicted.usd_total: .*-0.5"),
]

TOKEN = "${Token[AWS.AccountId.4]}"
"""What CDK writes for a value that it does not know yet: in a name it would become another account's."""

HOSTILE = [
    (put("name", value='a"b'), """name: .*'a"b'"""),
    (put("name", value="a'b"), "name: .*a'b"),
    (put("name", value=TOKEN), r"name: .*\$\{Token"),
    (put("name", value="../../up"), r"name: .*\.\./\.\./up"),
    (put("name", value="a; rm -rf ~"), "name: .*rm -rf"),
    (put("name", value="übung"), "name: .*übung"),
    (put("name", value="\uff41bc"), "name: .*\uff41bc"),
    (put("name", value="right-to-left\u202eeman"), "name: "),
    (put("name", value="name\n"), r"name: .*'name\\n'"),
    (put("name", value="zero\0byte"), "name: "),
    (put("name", value="a" * 1_000_000), "name: "),
    (put("platform", value=TOKEN), r"platform: .*\$\{Token"),
    (put("platform", value="../aws-lambda"), "platform: "),
    (put("stages", 0, "modules", 0, value=TOKEN), r"stages\.0\.modules\.0: .*\$\{Token"),
    (put("stages", 0, "modules", 0, value="../Linear"), r"stages\.0\.modules\.0"),
    (put("stages", 0, "modules", 0, value='Linear", "Effect": "Allow'), r"stages\.0\.modules\.0"),
    (put("stages", 0, "modules", 0, value="Linear\n"), r"stages\.0\.modules\.0"),
    (put("stages", 0, "replicas", value=-1), r"stages\.0\.replicas: .*-1"),
    (put("stages", 0, "replicas", value=10**30), r"stages\.0\.replicas"),
    (put("stages", 0, "replicas", value=float("inf")), r"stages\.0\.replicas"),
    (put("stages", value=[{}] * 10**6), "stages: .*at most 60 items"),
    (put("iterations", value=10**12), "iterations: 1000000000000, expected: 4"),
    (put("model", "factory", value=TOKEN), r"model\.factory: .*\$\{Token"),
    (put("model", "factory", value="../../os:system"), "model.factory"),
    (put("model", "factory", value="model:build()"), "model.factory"),
    (put("data", "factory", value="-m:antigravity"), "data.factory"),
    (put("package", "source", value="..\\up"), "package: "),
    (put("package", "source", value="~root"), "package: .*~root"),
    (put("package", "source", value="zero\0byte"), "package: "),
    (put("package", "requirements", value=["einops; rm -rf ~"]), r"package\.requirements\.0"),
    (put("package", "requirements", value=["einops\n--index-url=http://example.org"]), r"package\.requirements\.0"),
    (put("package", "requirements", value=["x @ file:///etc/passwd"]), r"package\.requirements\.0"),
    (put("package", "requirements", value=["-r/etc/passwd"]), r"package\.requirements\.0"),
    (put("hashes", "source", value="../" + "a" * 61), "hashes.source"),
    (put("schema_version", value=True), "schema_version is True"),
    (put("schema_version", value=1.0), "schema_version is 1.0"),
    (put("schema_version", value="\x1b[2J" + "1" * 10**6), r"schema_version is '\\x1b\[2J1111"),
    (put("model", "args", value={"rate": float("nan")}), r"model\.args\.rate: no finite number"),
    (put("model", "args", value={"a": [1, {"b": float("-inf")}]}), r"model\.args\.a\.1\.b: no finite number"),
    (put("model", "args", value={"a": "\ud800"}), "Invalid JSON: .*hex escape"),
    (put("package", "source", value="a\nb"), r"package: .*'a\\nb'"),
    (put("package", "source", value=f"a/{TOKEN}"), r"package: .*\$\{Token"),
    (put("package", "source", value="a/" * 5_000), "package.source: .*at most 1024"),
    (put("\x1b]0;owned\x07", value=1), r": \\x1b\]0;owned\\x07: Extra"),
    (put("k" * 10**6, value=1), r": k{300}…: Extra"),
    (lambda document: document.update(dict.fromkeys(map(str, range(1_000)), 1)), ": and 980 more"),
    (put("iterations", value=-(2**63)), "iterations"),
    (put("name", value={"Ref": "AWS::AccountId"}), "name: "),
    (put("name", value="${AWS::AccountId}"), "name: "),
    (put("stages", 0, "modules", value="Linear"), r"stages\.0\.modules"),
    (put("stages", 1, "end_layer", value=10**18), r"names: "),
    (put("dataset", "train_samples", value=10**18), "iterations"),
    (put("segment", value=None), "segment: "),
    (put("hashes", value=[]), "hashes: "),
]
"""What would reach a template, a path, a shell or pip; the message stays short whatever was given."""


@pytest.mark.parametrize(("edit", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_hostile_manifests_are_refused_in_few_words(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    document = manifest_document()
    edit(document)
    with pytest.raises(UserInputError, match=message) as caught:
        parse_manifest(json.dumps(document), "plan.json")
    assert len(str(caught.value)) < 2_000
    assert all(line.isprintable() for line in str(caught.value).split("\n")), "nothing that a terminal would obey"


@pytest.mark.parametrize(("edit", "message"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_malformed_manifests_are_refused(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    document = manifest_document()
    edit(document)
    with pytest.raises(UserInputError, match=message) as caught:
        parse_manifest(json.dumps(document), "plan.json")
    assert str(caught.value).startswith("plan.json: ")
    assert "funcpipe plan" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", " \n", "{", "[]", "null", "1", "[" * 100_000, '{"a":' * 100_000, "// a comment\n{}", "{'a': 1}", "{} {}"),
        *('{"iterations": ' + "9" * 5_000 + "}", '{"name": "a\x01b"}', '{"a": {"b": 1, "b": 2}}'),
        *(b"\xff\xfe", b"\0" * 1_000, b"\x1f\x8b\x08\0\0", b"\x80\x04\x95", "exämple".encode("latin1")),
        '{"schema_version": 1, "schema_version": 1}',
    ],
)
def test_what_is_no_manifest_at_all_is_refused(text: str | bytes) -> None:
    with pytest.raises(UserInputError, match=r"^plan.json: "):
        parse_manifest(text, "plan.json")


@pytest.mark.parametrize("depth", [100, 250, 500, 900, 990, 2_000])
@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}")])
def test_arguments_however_deep_are_taken_or_refused(depth: int, opens: str, closes: str) -> None:
    text = json.dumps(manifest_document()).replace(
        '"args": {}', f'"args": {{"a": {opens * depth}1{closes * depth}}}', 1
    )
    try:
        assert parse_manifest(text, "plan.json").sha256
    except UserInputError as error:
        assert str(error).startswith("plan.json: ") and len(str(error)) < 1_000


def test_editors_marks_of_an_encoding_do_not_matter() -> None:
    text = make_manifest().to_json()
    for data in (text.encode("utf-8-sig"), text.encode("utf-16"), text.encode("utf-32")):
        assert parse_manifest(data, "plan.json").to_json() == text


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"absent.json: No such file.*funcpipe plan"):
        load_manifest(tmp_path / "absent.json")
    with pytest.raises(UserInputError, match="Is a directory"):
        load_manifest(tmp_path)


def test_the_checked_in_schema_is_current() -> None:
    make = "python -c \"from runtime.manifest import json_schema; print(json_schema(), end='')\" > manifest.schema.json"
    assert (ROOT / "manifest.schema.json").read_text() == json_schema(), f"make it anew: {make}"


def test_the_schema_names_every_key() -> None:
    schema = json.loads(json_schema())
    assert set(schema["properties"]) == set(Manifest.model_fields) == set(manifest_document())
    assert schema["additionalProperties"] is False
