"""Synthesised stacks shared by the tests: the first synthesis of a process takes about 7 s."""

import pytest

from tests.infra.synthesis import Synthesised, synthesise

PLANS = {
    "one stage, one worker": {"stages": 1},
    "three stages, unequal": {
        "layers": [1, 3, 2],
        "replicas": [1, 4, 2],
        "memory_mb": [512, 10_240, 1769],
        "iterations": 10,
        "segment_iterations": 4,
        "on_destroy": "retain",
    },
    "twelve stages": {"stages": 12, "replicas": 2, "architecture": "arm64", "timeout_s": 900},
    "one stage, 40 replicas": {"stages": 1, "replicas": 40},
    "two stages, 200 and 41 replicas": {"replicas": [200, 41]},
    "sixty stages, 1 to 200 replicas": {"stages": 60, "replicas": [200, *[1, 12, 21] * 19, 1, 40]},
}


@pytest.fixture(scope="session", params=PLANS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Each of several very different plans."""
    return synthesise(tmp_path_factory.mktemp("plan"), **PLANS[request.param])


@pytest.fixture(scope="session")
def three_stages(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The plan of three unequal stages, whose artifacts are kept."""
    return synthesise(tmp_path_factory.mktemp("three"), **PLANS["three stages, unequal"])
