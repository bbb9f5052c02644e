"""Which Python stands for the image's, and what the command says of input that it cannot use.

The whole command, torch's installation included, is `make rehearse`, which .ci/run calls.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rehearsal import __main__ as rehearsal
from rehearsal.build import Build
from rehearsal.dockerfile import Dockerfile
from rehearsal.pythons import find_python, python_version
from runtime.errors import FuncpipeError
from tests.manifests import write_project

HERE = ".".join(map(str, sys.version_info[:3]))


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_python_is_found_on_path_or_with_pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert find_python("3.99") is None
    script(tmp_path / "bin" / "python3.99", "echo not selected >&2; exit 127")
    assert find_python("3.99") is None, "a shim of pyenv that does not run"
    found = script(tmp_path / "pyenv" / "versions" / "3.99.4" / "bin" / "python", "echo 3.99.4")
    assert find_python("3.99") == found
    first = script(tmp_path / "bin" / "python3.99", "echo 3.99.0")
    assert find_python("3.99") == first
    assert find_python("3.9") is None


def test_the_version_of_what_is_no_python_is_empty(tmp_path: Path) -> None:
    assert python_version(Path(sys.executable)) == HERE
    assert python_version(tmp_path / "absent") == ""


def begin(monkeypatch: pytest.MonkeyPatch, found: Path | None, named: Path | None = None) -> rehearsal.Account:
    """What is tried where ``found`` is the image's Python, and torch can be had for this Python alone."""

    def up_to_torch(
        dockerfile: Dockerfile, context: Path, folder: Path, python: Path, account: rehearsal.Account, tell: object
    ) -> None:
        account.python = f"of {python}"
        folder.mkdir(parents=True)
        if python != Path(sys.executable):
            raise FuncpipeError("no torch for it")

    monkeypatch.setattr(rehearsal, "find_python", lambda version: found)
    monkeypatch.setattr(rehearsal, "_up_to_torch", up_to_torch)
    account = rehearsal.Account("base", "3.99")
    with TemporaryDirectory() as folder:
        dockerfile = Dockerfile("base", "3.99", (), "module.function")
        rehearsal._begin(dockerfile, Path(folder), Path(folder), named, account, lambda line: None)
    return account


def test_where_torch_cannot_be_had_for_the_images_python_another_stands_in_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, other = Path(sys.executable), Path("/somewhere/python3.99")
    fits = begin(monkeypatch, here)
    assert (fits.python, fits.other_python_because) == (f"of {here}", None)
    none = begin(monkeypatch, None)
    assert none.python == f"of {here}" and none.other_python_because == "no Python 3.99 on this machine"
    without = begin(monkeypatch, other)
    assert without.python == f"of {here}"
    assert without.other_python_because == "torch cannot be installed for Python 3.99 here: no torch for it"
    with pytest.raises(FuncpipeError, match="no torch for it"):
        begin(monkeypatch, here, named=other)


@pytest.mark.parametrize(
    ("found", "used", "said"),
    [
        ("/somewhere/python3.99", "3.99.1", "all of them"),
        ("/somewhere/python3.99", "3.11.7", "Python 3.99.4 without torch: those by /somewhere/python3.99"),
        (None, "3.11.7", "skipped: there is no Python 3.99"),
    ],
)
def test_tests_run_in_the_images_python_or_those_that_can_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str | None, used: str, said: str
) -> None:
    monkeypatch.setattr(rehearsal, "find_python", lambda version: Path(found) if found else None)
    monkeypatch.setattr(rehearsal, "python_version", lambda python: "3.99.4")
    monkeypatch.setattr(rehearsal, "run_runtime_tests", lambda python, folder: "all of them")
    monkeypatch.setattr(rehearsal, "run_tests_without_torch", lambda python, folder: f"those by {python}")
    build = Build(context=tmp_path, folder=tmp_path / "image", python=Path(sys.executable), log=tmp_path / "log")
    account = rehearsal.Account("base", "3.99", python=used)
    dockerfile = Dockerfile("base", "3.99", (), "module.function")
    assert rehearsal._tests(dockerfile, build, account, tmp_path).startswith(said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/absent.json"], "No such file"),
        (["{folder}/manifest.json", "--python", "{folder}/absent"], "is no Python interpreter"),
        (["{folder}/moved.json"], "source folder does not exist"),
    ],
)
def test_input_that_cannot_be_used_is_one_message_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    path = write_project(tmp_path)
    (tmp_path / "moved.json").write_text(path.read_text().replace('"source": "source"', '"source": "elsewhere"'))
    assert rehearsal.main([argument.format(folder=tmp_path) for argument in arguments]) == 2
    assert message in capsys.readouterr().err
