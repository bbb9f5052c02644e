"""Wheels for another Python and another machine than these, from wheels written here."""

import sys
from pathlib import Path

import pytest

from rehearsal.build import Part
from rehearsal.wheels import check_wheels
from runtime.errors import FuncpipeError
from runtime.manifest import Architecture
from tests.wheels import write_wheel

PURE, STABLE, NATIVE = Part("pure", "1.0", 1), Part("stable", "1.0", 1), Part("native", "1.0", 1)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of wheels for Python 3.99: one native to x86_64 alone, one too new for Amazon Linux 2023 on arm64."""
    write_wheel(tmp_path, "pure", [])
    for machine in ("x86_64", "aarch64"):
        write_wheel(tmp_path, "stable", [], f"cp38-abi3-manylinux_2_17_{machine}")
    write_wheel(tmp_path, "native", [], "cp399-cp399-manylinux_2_34_x86_64")
    write_wheel(tmp_path, "native", [], "cp399-cp399-manylinux_2_35_aarch64")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def check(*parts: Part, architecture: Architecture) -> int:
    return check_wheels(parts, Path(sys.executable), "3.99", architecture)


def test_code_and_torch_are_not_asked_for() -> None:
    parts = (Part("code and model", "", 1), Part("torch", "2.13.0+cpu", 1), PURE, STABLE)
    for architecture in Architecture:
        assert check(*parts, architecture=architecture) == 2


def test_what_has_no_wheel_for_a_machine_is_told() -> None:
    assert check(PURE, NATIVE, architecture=Architecture.X86_64) == 2
    with pytest.raises(FuncpipeError, match=r"Python 3\.99 on arm64.*(?s:.*)native==1\.0"):
        check(PURE, NATIVE, architecture=Architecture.ARM64)
