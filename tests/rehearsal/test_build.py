"""Steps carried out in a folder, without network: distributions come from wheels written here."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.build import Build
from rehearsal.dockerfile import Copy, Environment, Run, Workdir
from runtime.errors import FuncpipeError
from tests.wheels import write_wheel


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    (folder / "source" / "part").mkdir(parents=True)
    (folder / "source" / "model.py").write_text("from vocabulary import WORDS\n")
    (folder / "source" / "part" / "words.txt").write_text("12345678")
    (folder / "requirements.txt").write_text("vocabulary==1.0\n")
    return folder


@pytest.fixture(scope="module")
def build(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """Made once: a virtual environment takes seconds."""
    folder = tmp_path_factory.mktemp("build")
    index = folder / "index"
    index.mkdir()
    for name, needs in [("vocabulary", ["grammar"]), ("grammar", [])]:
        write_wheel(index, name, needs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(index))
        patch.setenv("PYTHONPATH", "/nowhere")
        yield Build(context=context, folder=folder / "image", python=Path(sys.executable), log=folder / "log")


def test_the_image_holds_what_its_steps_put_there_and_nothing_of_this_environment(build: Build) -> None:
    told: list[str] = []
    steps = [
        Environment({"GREETING": "hello"}),
        Workdir("/opt/work"),
        Copy(("requirements.txt",), "./"),
        Run("pip install -r requirements.txt"),
        Workdir("${LAMBDA_TASK_ROOT}"),
        Copy(("source/",), "source/"),
        Run('echo "$GREETING from $LAMBDA_TASK_ROOT, $PYTHONPATH" > said'),
    ]
    for step in steps:
        build.carry_out(step, told.append)
    assert [line.split("s  ", 1)[1] for line in told][3] == "RUN pip install -r requirements.txt"
    root = build.task_root.parents[1]
    assert (root / "opt" / "work" / "requirements.txt").is_file()
    assert (build.task_root / "source" / "part" / "words.txt").is_file(), "a folder's contents are copied, not itself"
    assert (build.task_root / "said").read_text() == "hello from /var/task, \n"

    names = {part.name: part for part in build.parts()}
    assert names.keys() == {"code and model", "vocabulary", "grammar"}
    assert names["vocabulary"].version == "1.0" and names["vocabulary"].size_bytes > len("WORDS = ['a']\n")
    source_bytes = sum(path.stat().st_size for path in build.task_root.rglob("*") if path.is_file())
    assert names["code and model"].size_bytes == source_bytes

    found = "import importlib.util as u; print(*(bool(u.find_spec(n)) for n in ('vocabulary', 'torch')))"
    done = subprocess.run([build.python, "-I", "-c", found], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_failing_command_is_told_with_the_end_of_its_output(build: Build) -> None:
    with pytest.raises(FuncpipeError, match=r"exit status 7 of: echo reason >&2; exit 7\n  \| reason"):
        build.carry_out(Run("echo reason >&2; exit 7"), lambda line: None)
    with pytest.raises(FuncpipeError, match="No matching distribution found for absent"):
        build.carry_out(Run("pip install absent"), lambda line: None)


def test_what_is_not_in_the_context_cannot_be_copied(build: Build) -> None:
    with pytest.raises(FuncpipeError, match=r"COPY absent\.txt \./: absent\.txt is not in the build context"):
        build.carry_out(Copy(("absent.txt",), "./"), lambda line: None)
