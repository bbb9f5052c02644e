"""The small JSON records that workers leave in the artifact bucket, and the event that starts a worker."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from runtime.manifest import RunId, Sha256
from runtime.schedule import Lane
from runtime.spec import Strict


def _unix_time(value: Any) -> Any:
    """Step Functions knows the time as ISO 8601 text only."""
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value


UnixTime = Annotated[float, BeforeValidator(_unix_time)]


class WorkerEvent(Strict):
    """Input of the stage function: which worker of which gang to be."""

    run: RunId
    segment: Annotated[int, Field(ge=0, lt=100_000)]
    attempt: Annotated[int, Field(ge=0, lt=1_000)]
    stage: Annotated[int, Field(ge=0, lt=1_000)]
    replica: Annotated[int, Field(ge=0, lt=10_000)]
    manifest_sha256: Sha256 = Field(description="plan that was deployed; the run's own manifest must be it")


class TimelineEvent(Strict):
    """One executed (or predicted) instruction. Times are seconds since the Unix epoch (or since 0)."""

    stage: int
    replica: int
    iteration: int
    lane: Lane
    instruction: str = Field(description="short form, as str(schedule.Instruction)")
    start_s: float
    end_s: float
    bytes: int = Field(0, description="moved over the link")
    waited_s: float = Field(0.0, description="part of the duration spent waiting for the object to appear")


class Traffic(Strict):
    """Requests and bytes of one worker against its stores."""

    puts: int = 0
    gets: int = 0
    empty_gets: int = Field(0, description="GETs answered 'no such key' while waiting; also in gets")
    deletes: int = 0
    lists: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class Progress(Strict):
    """Where a worker is; overwritten about every second."""

    stage: int
    replica: int
    segment: int
    attempt: int
    iteration: int = Field(description="iterations completed, counted over the whole run")
    loss: float | None = Field(description="this replica's share of the last iteration's loss; last stage only")
    started_at: float = Field(description="Unix time at which the handler was entered")
    updated_at: float


class WorkerSummary(Strict):
    """What a worker did in one segment; its presence says that the worker has finished."""

    event: WorkerEvent
    started_at: float
    ended_at: float
    first_iteration: int
    end_iteration: int
    iteration_ends: list[float] = Field(description="Unix time at the end of each iteration")
    losses: list[float] = Field(description="this replica's share of each iteration's loss; last stage only")
    peak_memory_mb: float = Field(description="peak resident memory of the process")
    traffic: Traffic
    request_id: str = Field(description="Lambda request id, or a local worker's name")
    checkpoint: dict[str, Sha256] = Field(default_factory=dict, description="layer index -> digest of its file")


class Failure(Strict):
    """Why a worker stopped: kept for watch and the report.

    "died" is told by others, of a worker that ended without a word (killed, out of memory, out of time): by the
    workflow, or by the owner of local processes.
    """

    event: WorkerEvent
    kind: Literal["exception", "aborted", "stalled", "died"]
    iteration: int | None = None
    instruction: str | None = None
    error: str
    traceback: str = ""
    at: UnixTime


class Abort(Strict):
    """Tells every worker of a gang to stop. Workers and owners write it only where there is none."""

    reason: Literal["failure", "stopped"]
    message: str
    failure: Failure | None = None
    at: UnixTime


class Commit(Strict):
    """A complete checkpoint. Number 0 is the initial state; number k is the state after segment k-1."""

    number: int
    iteration: int = Field(description="iterations done")
    prefix: str = Field(description="key prefix of the layers' files in the artifact bucket")
    layers: list[Sha256] = Field(description="digest of each layer's file, by layer index")


class ShardIndex(Strict):
    """The shards of one data set, in order."""

    dataset_sha256: Sha256
    train: list[int] = Field(description="samples of each training shard")
    test: list[int] = Field(description="samples of each test shard")
