"""The record of a running emulator, in ``PROJECT/.funcpipe/local``, and whether it still holds."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from localaws import processes
from localaws.variables import aws_variables


@dataclass(frozen=True)
class Emulator:
    """A started emulator. ``started`` tells its process from a later one with the same id."""

    pid: int
    started: str
    port: int
    folder: str
    log: str
    keeps: bool = False
    """S3's objects are on disk, and outlive it."""
    bound: bool = False
    """It ends when the process that started it does."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for AWS clients and the CDK command; ``variables.with_emulator`` merges them into others."""
        files = Path(self.folder)
        return aws_variables(self.endpoint, files / "cdk", files.parent / "jsii")

    @property
    def alive(self) -> bool:
        return processes.start_time(self.pid) == self.started


@dataclass(frozen=True)
class StateFolder:
    """Where one project keeps its emulator's record, log and files."""

    path: Path

    @property
    def log(self) -> Path:
        return self.path / "emulator.log"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def files(self) -> Path:
        """What one emulator keeps on disk; removed with it."""
        return self.path / "run"

    @property
    def objects(self) -> Path:
        """What S3 of an emulator started with ``keep`` holds: it outlives the emulator, until `down`."""
        return self.path / "objects"

    @property
    def _record(self) -> Path:
        return self.path / "state.json"

    def load(self) -> Emulator | None:
        """The recorded emulator, alive or not; None when there is no record, or none that can be read."""
        try:
            return Emulator(**json.loads(self._record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, emulator: Emulator) -> None:
        unfinished = self._record.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(emulator), indent=2) + "\n")
        unfinished.replace(self._record)

    def forget(self) -> None:
        self._record.unlink(missing_ok=True)
