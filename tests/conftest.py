"""Fixtures that several packages' tests share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from localaws import control
from localaws.state import Emulator
from localaws.variables import ACCOUNT, REGION


@dataclass(frozen=True)
class RunningEmulator:
    """The session's emulator. ``environment`` is what AWS clients and the CDK command need in theirs."""

    project: Path
    process: Emulator
    environment: dict[str, str]
    account: str = ACCOUNT
    region: str = REGION

    @property
    def endpoint(self) -> str:
        return self.process.endpoint

    def client(self, service: str) -> Any:
        """A boto3 client that retries nothing, so that each error is seen."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=64, read_timeout=120, proxies={}),
        )


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    """A local AWS of this test session alone, bootstrapped for the CDK command."""
    project = tmp_path_factory.mktemp("emulator")
    process, _ = control.up(project, bound=True)
    yield RunningEmulator(project, process, process.environment)
    control.down(project)
