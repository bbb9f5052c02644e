"""The runs that this project folder knows, by id: one small file each, under ``.funcpipe/runs``.

What a run *does* is in its artifact store; this only remembers where that is. A process that owns a run (``funcpipe
run``) holds a lock on the run's file for as long as it lives, however it ends.
"""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from runtime.documents import describe_errors
from runtime.errors import FuncpipeError, UserInputError
from runtime.manifest import RunId, Sha256
from runtime.spec import Strict

_RUN_ID = TypeAdapter(RunId)
_NAME_CHARACTERS = 27  # of 48 for an id, the rest is "-yyyymmdd-hhmmss-xxxx"


class RunEntry(Strict):
    """Where a run is."""

    run: RunId
    kind: Literal["local", "aws"]
    artifacts_url: str
    manifest_path: str
    manifest_sha256: Sha256
    started_at: float
    embedded: bool = False
    """On the embedded AWS, not on an account."""
    stack: str | None = None
    state_machine_arn: str | None = None
    execution_arn: str | None = None
    region: str | None = None


def check_run_id(run: str) -> str:
    """``run`` when it can name a run. Raises UserInputError otherwise."""
    try:
        return _RUN_ID.validate_python(run)
    except ValidationError:
        raise UserInputError(
            f"run id {run!r}: use 1 to 48 lower-case letters, digits and hyphens, with no hyphen at either end."
        ) from None


def default_run_id(name: str, now: datetime | None = None) -> str:
    """An id of its own for a new run of the job ``name``: name, UTC time, and four digits against collisions."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    return f"{name[:_NAME_CHARACTERS].rstrip('-')}-{moment}-{secrets.token_hex(2)}"


class Registry:
    """The runs known to the project in folder ``project``."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._folder = project / ".funcpipe" / "runs"

    def _path(self, run: str) -> Path:
        return self._folder / f"{check_run_id(run)}.json"

    def known(self) -> list[str]:
        """Ids of all known runs, sorted."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def check_unused(self, run: str) -> None:
        """Raises UserInputError when ``run`` is no run id or names a known run."""
        if self._path(run).exists():
            raise UserInputError(
                f"run id {run!r} has been used in {self.project}. Give another with --run, "
                f"or leave --run out; `funcpipe report {run}` shows the run that has it."
            )

    def add(self, entry: RunEntry) -> None:
        """Remembers a new run. Raises UserInputError when its id has been used."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with open(self._path(entry.run), "x", encoding="utf-8") as file:
                file.write(entry.model_dump_json(indent=2) + "\n")
        except FileExistsError:
            self.check_unused(entry.run)

    def remove(self, run: str) -> None:
        """Forgets a run that was never started."""
        self._path(run).unlink(missing_ok=True)

    def get(self, run: str) -> RunEntry:
        """The entry of ``run``.

        Raises:
            UserInputError: no run of that id is known here (the message lists those that are).
            FuncpipeError: its file is damaged.
        """
        path = self._path(run)
        try:
            return RunEntry.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            known = ", ".join(self.known()) or "none yet; `funcpipe run` or `funcpipe start` makes one"
            raise UserInputError(
                f"no run {run!r} is known in {self.project} (known: {known}). A run is known in the folder that it was "
                "started in."
            ) from None
        except ValidationError as error:
            raise FuncpipeError(f"{describe_errors(error, str(path))}\nThe file is damaged; delete it.") from None

    @contextmanager
    def held(self, run: str) -> Iterator[None]:
        """Marks ``run`` as owned by this process until the block, or the process, ends."""
        with open(self._path(run), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_held(self, run: str) -> bool:
        """Whether a living process owns ``run``."""
        with open(self._path(run), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
