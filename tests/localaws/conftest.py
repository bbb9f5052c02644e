"""Fixtures on the session's emulator."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import RunningEmulator


@pytest.fixture
def bucket(emulator: RunningEmulator) -> str:
    name = f"bucket-{uuid4()}"
    emulator.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def function(emulator: RunningEmulator) -> Iterator[str]:
    """A function of the sample code whose log group is named ``/logs/FUNCTION``."""
    name = f"function-{uuid4()}"
    emulator.client("logs").create_log_group(logGroupName=f"/logs/{name}")
    emulator.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role=f"arn:aws:iam::{emulator.account}:role/worker",
        Handler="sample_function.handler",
        Code={"ZipFile": sample_package()},
        MemorySize=512,
        Timeout=120,
        LoggingConfig={"LogFormat": "Text", "LogGroup": f"/logs/{name}"},
    )
    yield name
    functions = emulator.client("lambda")
    if any(item["FunctionName"] == name for item in functions.list_functions()["Functions"]):
        functions.delete_function(FunctionName=name)


def sample_package() -> bytes:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.write(Path(__file__).with_name("sample_function.py"), "sample_function.py")
    return package.getvalue()
