"""The workers' Dockerfile: its layers' order, what enters it, and that hadolint has nothing to say; reading others."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.image_context import DOCKERFILE
from rehearsal.dockerfile import Copy, Environment, Run, Workdir, read_dockerfile
from runtime.errors import UserInputError

OURS = read_dockerfile(DOCKERFILE)
CODE = {"runtime/", "source/"}


def test_the_base_is_a_public_lambda_python_new_enough_for_torchs_wheels() -> None:
    assert OURS.base == f"public.ecr.aws/lambda/python:{OURS.python}"
    assert OURS.python in ("3.12", "3.13"), "older ones are Amazon Linux 2"
    assert OURS.handler == "runtime.handler.handler"


def test_a_new_model_rebuilds_the_last_layer_only() -> None:
    """Docker rebuilds a layer when what it copies has changed, and every layer after it."""
    layers = [step for step in OURS.steps if isinstance(step, Copy | Run)]
    assert layers[-1] == Copy(("source/",), "source/")
    assert layers[-2] == Copy(("runtime/",), "runtime/")
    assert not [step for step in layers[:-2] if isinstance(step, Copy) and CODE & set(step.sources)]


def test_torch_has_an_index_and_a_layer_of_its_own() -> None:
    torch, *others = [step.command for step in OURS.steps if isinstance(step, Run)]
    assert "--no-deps --index-url https://download.pytorch.org/whl/cpu -r torch-requirements.txt" in torch
    assert not [command for command in others if "index" in command], "all else comes from PyPI"
    assert all(re.search(r" -c [a-z-]+\.txt", command) for command in others)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.stdout == "" and done.returncode == 0


def write(folder: Path, *lines: str) -> Path:
    path = folder / "Dockerfile"
    path.write_text("\n".join(lines) + "\n")
    return path


FROM = "FROM public.ecr.aws/lambda/python:3.13"
CMD = 'CMD ["module.function"]'


def test_instructions_become_steps(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "# what it is",
        FROM,
        'ENV A=1 B="two words"',
        "WORKDIR /opt/x",
        "COPY a.txt b/ c/",
        "RUN first \\",
        "    && second",
        CMD,
    )
    read = read_dockerfile(path)
    assert (read.python, read.handler) == ("3.13", "module.function")
    assert read.steps[:3] == (
        Environment({"A": "1", "B": "two words"}),
        Workdir("/opt/x"),
        Copy(("a.txt", "b/"), "c/"),
    )
    (run,) = read.steps[3:]
    assert isinstance(run, Run) and run.command.split() == ["first", "&&", "second"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["FROM python:3.12", CMD], r"line 1: FROM python:3.12: expected one FROM public\.ecr\.aws"),
        ([FROM, FROM, CMD], "line 2: .*expected one FROM"),
        ([FROM, "USER 1000", CMD], "line 2: USER 1000: cannot be rehearsed"),
        ([FROM, "ADD https://example.org/x ./", CMD], "line 2: ADD .*cannot be rehearsed"),
        ([FROM, "COPY --chmod=644 a ./", CMD], "line 2: COPY --chmod=644 a ./: cannot be rehearsed"),
        ([FROM, "COPY a b", CMD], "to a folder whose name ends with /"),
        ([FROM, 'RUN ["true"]', CMD], "RUN in its shell form"),
        ([FROM, "CMD module.function"], 'expected CMD \\["MODULE.FUNCTION"\\]'),
        ([FROM, 'CMD ["one", "two"]'], "expected CMD"),
        ([FROM], "has no CMD"),
        ([CMD], "has no FROM"),
    ],
)
def test_what_cannot_be_rehearsed_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UserInputError, match=message):
        read_dockerfile(write(tmp_path, *lines))
