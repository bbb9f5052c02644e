"""The code asset: what is in it, what its hash depends on, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import aws_cdk as cdk
import pytest

from infra import code_folder
from infra.packaging import Packaging, PrebuiltImage
from infra.training import FuncPipeTraining
from infra.training_stack import TrainingStack
from localaws import control
from rehearsal.dockerfile import Copy, read_dockerfile
from runtime.errors import FuncpipeError, UserInputError
from tests.infra.synthesis import Synthesised, synthesise, text
from tests.wheels import write_wheel


def code_keys(stack: Synthesised) -> set[str]:
    return {json.dumps(function["Code"]) for function in stack.functions}


def code_of(stack: Synthesised) -> Path:
    """The staged folder of the zip that the functions share."""
    (key,) = code_keys(stack)
    return stack.assembly / f"asset.{json.loads(key)['S3Key'].removesuffix('.zip')}"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_code_does_not_depend_on_the_plan(tmp_path: Path) -> None:
    plans = [{"stages": 1}, {"stages": 3, "replicas": 4, "memory_mb": 3008}, {"iterations": 7, "name": "other"}]
    for packaging in Packaging:
        found = [code_keys(synthesise(tmp_path, packaging=packaging, **plan)) for plan in plans]
        assert found[0] == found[1] == found[2]
        assert len(found[0]) == 1, "one asset for all functions"


def test_the_code_is_the_same_in_another_folder(tmp_path: Path) -> None:
    for packaging in Packaging:
        here = synthesise(tmp_path / "here", packaging=packaging)
        there = synthesise(tmp_path / "there", packaging=packaging)
        assert code_keys(here) == code_keys(there)


@pytest.mark.parametrize("packaging", Packaging)
def test_the_code_changes_with_the_source(tmp_path: Path, packaging: Packaging) -> None:
    before = synthesise(tmp_path, packaging=packaging)
    (tmp_path / "source" / "model.py").write_text("def build():\n    return 1\n")
    assert code_keys(before) != code_keys(synthesise(tmp_path, packaging=packaging))


def test_a_zip_holds_the_runtime_and_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "package" / "__pycache__").mkdir(parents=True)
    for name in [
        "model.py",
        "package/part.py",
        "package/words.txt",
        "package/__pycache__/part.pyc",
        "job.toml",
        ".env",
    ]:
        (source / name).write_text("x = 1\n")
    stack = synthesise(tmp_path)
    found = files(code_of(stack))
    assert {name for name in found if name.startswith("source/")} == {
        "source/model.py",
        "source/package/part.py",
        "source/package/words.txt",
    }
    shipped = {name for name in found if not name.startswith("source/")}
    assert shipped == {
        path.relative_to(code_folder.RUNTIME.parent).as_posix() for path in code_folder.RUNTIME.rglob("*.py")
    }
    assert {function["Code"]["S3Key"] for function in stack.functions} == {f"{code_of(stack).name[6:]}.zip"}


def test_shipped_files_are_readable_by_lambdas_user(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    secretive = tmp_path / "source" / "model.py"
    secretive.write_text("x = 1\n")
    secretive.chmod(0o600)
    assert (code_of(synthesise(tmp_path)) / "source" / "model.py").stat().st_mode & 0o444 == 0o444


def test_the_handler_of_a_zip_is_found_in_it(tmp_path: Path) -> None:
    """Python finds the handler's module in the unpacked folder alone."""
    code = code_of(synthesise(tmp_path))
    find = "import importlib.util as u; print(u.find_spec('runtime.handler').origin)"
    done = subprocess.run([sys.executable, "-c", find], cwd=code, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == code / "runtime" / "handler.py"


def test_a_source_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    planned = synthesise(tmp_path)
    (tmp_path / "source" / "new.py").write_text("")
    with pytest.raises(UserInputError, match="changed since the plan") as caught:
        TrainingStack(cdk.App(), "again", manifest=planned.manifest, source=tmp_path / "source")
    assert planned.manifest.hashes.source in str(caught.value)
    assert "funcpipe plan" in str(caught.value)


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    planned = synthesise(tmp_path)
    with pytest.raises(UserInputError, match="does not exist"):
        TrainingStack(cdk.App(), "again", manifest=planned.manifest, source=tmp_path / "elsewhere")


def test_a_source_too_large_for_a_zip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_folder, "LAMBDA_CODE_BYTES", 2**20)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "table.bin").write_bytes(bytes(3 * 2**20))
    with pytest.raises(UserInputError, match=r"unpacked: 3 MiB, Lambda's limit: 1 MiB.*packaging=image"):
        synthesise(tmp_path)
    synthesise(tmp_path, packaging=Packaging.IMAGE)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder to install from without network: it has the distribution "vocabulary", and "grammar" that it needs."""
    index = tmp_path / "index"
    index.mkdir()
    for name, needs in [("vocabulary", ["grammar"]), ("grammar", [])]:
        write_wheel(index, name, needs)
    return index


def test_requirements_of_a_zip_are_installed_with_what_they_need(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(package))
    with_it = synthesise(tmp_path, requirements=["vocabulary==1.0"])
    found = files(code_of(with_it))
    assert {"vocabulary.py", "grammar.py", "runtime/manifest.py", "source/model.py"} <= found
    assert code_keys(with_it) != code_keys(synthesise(tmp_path)), "requirements are part of the code"


def test_requirements_that_cannot_be_installed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FuncpipeError, match="could not install the model's requirements") as caught:
        synthesise(tmp_path, requirements=["no-such-distribution==1.0"])
    assert "No matching distribution" in str(caught.value)


@pytest.mark.parametrize(("architecture", "platform"), [("x86_64", "linux/amd64"), ("arm64", "linux/arm64")])
def test_an_image_is_one_build_for_the_functions_platform(tmp_path: Path, architecture: str, platform: str) -> None:
    stack = synthesise(
        tmp_path, packaging=Packaging.IMAGE, stages=3, architecture=architecture, requirements=["einops==0.8.1"]
    )
    assets = json.loads((stack.assembly / "stack.assets.json").read_text())["dockerImages"]
    (image,) = assets.values()
    assert image["source"]["platform"] == platform
    context = stack.assembly / image["source"]["directory"]
    found = files(context)
    assert {"Dockerfile", "runtime/handler.py", "source/model.py"} <= found
    assert not [name for name in found if name.endswith((".pyc", "manifest.json"))]
    assert (context / "model-requirements.txt").read_text() == "einops==0.8.1\n"
    assert (context / "runtime-requirements.txt").read_text() == code_folder.RUNTIME_REQUIREMENTS.read_text()
    (torch,) = (context / "torch-requirements.txt").read_text().splitlines()
    assert torch.startswith("torch==") and torch in (context / "runtime-requirements.txt").read_text().splitlines()
    (destination,) = image["destinations"].values()
    for function in stack.functions:
        assert function["PackageType"] == "Image"
        assert destination["imageTag"] in json.dumps(function["Code"]["ImageUri"])
        assert "Handler" not in function and "Runtime" not in function


def test_the_dockerfile_copies_all_that_is_in_the_build_context(tmp_path: Path) -> None:
    stack = synthesise(tmp_path, packaging=Packaging.IMAGE)
    (image,) = json.loads((stack.assembly / "stack.assets.json").read_text())["dockerImages"].values()
    context = stack.assembly / image["source"]["directory"]
    steps = read_dockerfile(context / "Dockerfile").steps
    copied = {name.rstrip("/") for step in steps if isinstance(step, Copy) for name in step.sources}
    assert copied == {path.name for path in context.iterdir()} - {"Dockerfile"}


def test_the_cdk_command_builds_without_attestations_which_lambda_refuses() -> None:
    command = (control.HOME / "node_modules" / "aws-cdk" / "lib" / "index.js").read_text()
    assert 'BUILDX_NO_DEFAULT_ATTESTATIONS: "1"' in command


DIGEST = "sha256:" + "5d" * 32
URI = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/workers_1@{DIGEST}"


def test_an_image_that_exists_is_used_by_its_digest_and_nothing_is_built(tmp_path: Path) -> None:
    stack = synthesise(tmp_path, packaging=PrebuiltImage.parse(URI), stages=3)
    assert len(code_keys(stack)) == 1
    for function in stack.functions:
        assert text(function["Code"]["ImageUri"]) == URI.replace("amazonaws.com", "AWS::URLSuffix")
        assert function["PackageType"] == "Image"
        assert function["ImageConfig"] == {"Command": ["runtime.handler.handler"]}
    assert not json.loads((stack.assembly / "stack.assets.json").read_text()).get("dockerImages")


def test_an_image_that_exists_does_not_excuse_a_source_changed_since_the_plan(tmp_path: Path) -> None:
    planned = synthesise(tmp_path)
    (tmp_path / "source" / "new.py").write_text("")
    with pytest.raises(UserInputError, match="changed since the plan"):
        TrainingStack(
            cdk.App(),
            "again",
            manifest=planned.manifest,
            source=tmp_path / "source",
            packaging=PrebuiltImage.parse(URI),
        )


def test_an_image_must_be_in_the_stacks_region_where_that_is_known(tmp_path: Path) -> None:
    planned = synthesise(tmp_path)
    for region, refused in [("eu-west-1", False), ("us-east-1", True)]:
        app = cdk.App()
        options = {"manifest": planned.manifest, "source": tmp_path / "source", "packaging": PrebuiltImage.parse(URI)}
        stack = cdk.Stack(app, "stack", env=cdk.Environment(account="123456789012", region=region))
        if refused:
            with pytest.raises(UserInputError, match=r"image: eu-west-1, stack: us-east-1"):
                FuncPipeTraining(stack, "Training", **options)
        else:
            FuncPipeTraining(stack, "Training", **options)


@pytest.mark.parametrize(
    "uri",
    [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/workers:latest",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/workers",
        f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/workers:v1@{DIGEST}",
        URI[:-1],
        URI.replace("5d", "5D"),
        URI.replace("123456789012", "12345"),
        f"docker.io/team/workers@{DIGEST}",
        f"123456789012.dkr.ecr.${{Token}}.amazonaws.com/team/workers@{DIGEST}",
        URI.replace("team", ".."),
        URI + "\n",
    ],
)
def test_tags_and_other_registries_are_refused(uri: str) -> None:
    with pytest.raises(UserInputError, match="named by its digest") as caught:
        PrebuiltImage.parse(uri)
    assert repr(uri) in str(caught.value)
