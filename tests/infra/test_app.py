"""app.py as the CDK CLI runs it: messages and exit status."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

import app
from runtime.errors import UserInputError
from tests.infra.synthesis import ROOT
from tests.manifests import write_project
from tests.runtime.test_manifest import HOSTILE, MALFORMED


def run_app(out: Path, **context: str) -> subprocess.CompletedProcess[str]:
    """app.py with the environment that the CLI gives it."""
    flags = json.loads((ROOT / "cdk.json").read_text())["context"]
    environment = {**os.environ, "CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps({**flags, **context})}
    return subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_stack_is_named_after_the_job(tmp_path: Path) -> None:
    manifest = write_project(tmp_path, name="digits")
    done = run_app(tmp_path / "out", manifest=str(manifest), packaging="zip")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "funcpipe-digits.template.json").exists()


def test_the_stack_can_be_named_and_its_log_level_chosen(tmp_path: Path) -> None:
    done = run_app(tmp_path / "out", manifest=str(write_project(tmp_path)), stack="mine", log_level="DEBUG")
    assert done.returncode == 0, done.stderr
    template = json.dumps(json.loads((tmp_path / "out" / "mine.template.json").read_text()))
    assert template.count('"FUNCPIPE_LOG_LEVEL": "DEBUG"') == 2


def test_an_image_that_exists_can_be_named(tmp_path: Path) -> None:
    digest = "sha256:" + "0f" * 32
    image = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/workers@{digest}"
    done = run_app(tmp_path / "out", manifest=str(write_project(tmp_path, name="digits")), image=image)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "funcpipe-digits.template.json").read_text().count(f"/workers@{digest}") == 2


def test_nag_looks_at_the_stack_when_asked_to(tmp_path: Path) -> None:
    manifest = write_project(tmp_path)
    for nag, plugins in [("off", []), ("on", ["AwsSolutions"])]:
        out = tmp_path / nag
        done = run_app(out, manifest=str(manifest), packaging="zip", nag=nag)
        assert done.returncode == 0, done.stderr
        report = out / "validation-report.json"
        found = json.loads(report.read_text())["pluginReports"] if report.exists() else []
        assert [plugin["pluginName"] for plugin in found] == plugins


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "-c manifest=PATH"),
        ({"manifest": "{folder}/absent.json"}, "No such file"),
        ({"manifest": "{folder}/manifest.json", "packaging": "tar"}, "'tar'"),
        ({"manifest": "{folder}/manifest.json", "image": "workers:latest"}, "by its digest"),
        ({"manifest": "{folder}/manifest.json", "image": "x", "packaging": "image"}, "leave -c packaging out"),
        ({"manifest": "{folder}/manifest.json", "stack": "1 stack"}, "'1 stack'"),
        ({"manifest": "{folder}/manifest.json", "nag": "yes"}, "nag must be on or off (given: 'yes')"),
        ({"manifest": "{folder}/manifest.json", "log_level": "verbose"}, "one of DEBUG, INFO, WARNING, ERROR"),
        ({"manifest": "{folder}/invalid.json"}, "stages.1.memory_mb"),
        ({"manifest": "{folder}/moved/manifest.json"}, "source folder does not exist"),
    ],
)
def test_wrong_input_is_one_message_and_status_2(tmp_path: Path, context: dict[str, str], message: str) -> None:
    path = write_project(tmp_path)
    document = json.loads(path.read_text())
    document["stages"][1]["memory_mb"] = 20_000
    (tmp_path / "invalid.json").write_text(json.dumps(document))
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "manifest.json").write_bytes(path.read_bytes())
    done = run_app(tmp_path / "out", **{key: value.format(folder=tmp_path) for key, value in context.items()})
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("manifest", value) for value in (["x"], 5, "a\0b", {"a": "b"})),
        *(("stack", value) for value in (5, ["mine"], "a b", "${Token[A.1]}", "übung", "-x", "x" * 129, "a\n")),
        *(("packaging", value) for value in (["zip"], {"zip": 1})),
        *(
            (key, value)
            for key in ("vpc", "kms_key", "artifact_bucket", "alarm_topic")
            for value in (5, ["a"], {"a": 1})
        ),
    ],
)
def test_context_of_another_type_is_one_message(tmp_path: Path, key: str, value: Any) -> None:
    """cdk.json may hold any of JSON's types."""
    context = {"manifest": str(write_project(tmp_path)), key: value}
    with pytest.raises(UserInputError, match=key):
        app.build(cdk.App(context=context, analytics_reporting=False))


@pytest.mark.parametrize(
    ("edit", "message"), [*MALFORMED, *HOSTILE], ids=[message for _, message in [*MALFORMED, *HOSTILE]]
)
def test_no_construct_is_made_of_a_malformed_or_hostile_manifest(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(write_project(tmp_path).read_text())
    edit(document)
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    monkeypatch.setattr(app, "TrainingStack", None)  # whoever comes this far fails with another exception
    tree = cdk.App(context={"manifest": str(tmp_path / "manifest.json")}, analytics_reporting=False)
    with pytest.raises(UserInputError, match=message):
        app.build(tree)
    assert tree.node.children == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("${Token[AWS.AccountId.4]}", "a relative folder with '/' separators"),
        ("file:///etc", "source folder does not exist"),
        ("../" * 50 + "no/such/folder", "source folder does not exist"),
    ],
)
def test_a_source_that_is_no_folder_makes_no_stack(tmp_path: Path, source: str, told: str) -> None:
    path = write_project(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "package": {"source": source, "requirements": []}}))
    done = run_app(tmp_path / "out", manifest=str(path))
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*.template.json"))


def test_the_cdk_command_shows_the_message_and_writes_no_template(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    path.write_text(path.read_text().replace('"replicas": 1', '"replicas": -1', 1))
    options = ["--app", f'"{sys.executable}" app.py', "--output", str(tmp_path / "out"), "-c", f"manifest={path}"]
    done = subprocess.run(
        [ROOT / "node_modules" / ".bin" / "cdk", "synth", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "stages.0.replicas: " in done.stderr and "(given: -1)" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*.template.json"))


def test_a_python_without_the_projects_packages_is_told_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-S", "app.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Activate this project's environment" in done.stderr and len(done.stderr.splitlines()) == 1
