from types import ModuleType

import pytest

from tests.examples.modules import load


@pytest.fixture
def digits_model() -> ModuleType:
    return load("digits", "model")


@pytest.fixture
def digits_data() -> ModuleType:
    return load("digits", "data")


@pytest.fixture
def chargpt_model() -> ModuleType:
    return load("chargpt", "model")


@pytest.fixture
def chargpt_data() -> ModuleType:
    return load("chargpt", "data")
