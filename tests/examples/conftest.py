"""The examples' modules, loaded from their folders under names of their own: both have a ``model`` and a ``data``."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _load(example: str, module: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{example}_{module}", EXAMPLES / example / f"{module}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="session")
def digits_model() -> ModuleType:
    return _load("digits", "model")


@pytest.fixture(scope="session")
def digits_data() -> ModuleType:
    return _load("digits", "data")


@pytest.fixture(scope="session")
def chargpt_model() -> ModuleType:
    return _load("chargpt", "model")


@pytest.fixture(scope="session")
def chargpt_data() -> ModuleType:
    return _load("chargpt", "data")
