"""``funcpipe profile --on aws`` on the local AWS: a stack that measures and is gone afterwards, also after Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.profile_format import load_profile
from tests.conftest import RunningEmulator

MODEL = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
"""
DATA = """
import numpy

def load():
    generator = numpy.random.default_rng(0)
    return {"train": (generator.normal(size=(40, 4)), generator.integers(0, 3, 40))}
"""
JOB = """
name = "measured"
[model]
factory = "model:build"
[data]
factory = "data:load"
[training]
loss = "cross_entropy"
global_batch_size = 16
micro_batch_size = 8
epochs = 1
optimizer = { name = "sgd", lr = 0.1 }
"""


@pytest.fixture
def job(tmp_path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path / "job.toml"


def start(emulator: RunningEmulator, job: Path, *options: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "profile",
        str(job),
        "--on",
        "aws",
        "--local",
        "--memory-mb",
        "1024,2048",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(
        [*command, "-o", str(job.parent / "build" / "profile.json"), *options],
        cwd=emulator.project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left(emulator: RunningEmulator) -> list[str]:
    """Names of what a profiling stack may have left."""
    functions = [each["FunctionName"] for each in emulator.client("lambda").list_functions()["Functions"]]
    groups = [each["logGroupName"] for each in emulator.client("logs").describe_log_groups()["logGroups"]]
    roles = [each["RoleName"] for each in emulator.client("iam").list_roles()["Roles"]]
    return [name for name in (*functions, *groups, *roles) if "funcpipe-profile-measured" in name]


def test_functions_of_several_sizes_measure_and_are_gone(emulator, job):
    out, err = (process := start(emulator, job, "--json")).communicate()
    assert process.returncode == 0, err
    profile = load_profile(job.parent / "build" / "profile.json")
    assert json.loads(out)["memory_mb"] == profile.memory_mb == [1024, 2048]
    assert profile.threads == [1, min(2, len(os.sched_getaffinity(0)))]
    assert all(len(layer.forward_s) == 2 and min(layer.forward_s) > 0 for layer in profile.layers)
    assert profile.at(6).micro_batch_size == 6
    assert left(emulator) == []


def test_ctrl_c_takes_the_stack_down(emulator, job):
    process = start(emulator, job)
    try:
        while process.poll() is None and not left(emulator):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 130, err
    assert "deleting stack" in err and "Traceback" not in err
    assert left(emulator) == []
    assert not (job.parent / "build" / "profile.json").exists()
