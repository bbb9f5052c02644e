"""The small JSON records that workers leave in the artifact bucket, and the event that starts a worker."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from runtime.keys import INITIAL
from runtime.manifest import RunId, Sha256
from runtime.schedule import Lane
from runtime.spec import Strict


def _unix_time(value: Any) -> Any:
    """Step Functions knows the time as ISO 8601 text only."""
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value


UnixTime = Annotated[float, BeforeValidator(_unix_time)]
CommitName = Annotated[str, Field(pattern=r"^(initial|(0|[1-9]\d{0,4})-(0|[1-9]\d{0,2}))$")]
"""Of a commit within its run: "initial", or SEGMENT-ATTEMPT of the gang that made it, as Step Functions formats it."""
LayerName = Annotated[str, Field(pattern=r"^(initial|\d{5})/[0-9a-f]{64}$")]
"""Of a layer's file within its run: the segment that wrote it first, and its content's SHA-256."""


class WorkerEvent(Strict):
    """Input of the stage function: which worker of which gang to be."""

    run: RunId
    segment: Annotated[int, Field(ge=0, lt=100_000)]
    attempt: Annotated[int, Field(ge=0, lt=1_000)]
    stage: Annotated[int, Field(ge=0, lt=1_000)]
    replica: Annotated[int, Field(ge=0, lt=10_000)]
    manifest_sha256: Sha256 = Field(description="plan that was deployed; the run's own manifest must be it")
    commit: CommitName = Field(description="checkpoint to go on from; the same for all attempts at a segment")


class Claim(Strict):
    """Says that a worker of a gang has been started: of several invocations, the one whose token it holds proceeds."""

    token: str
    request_id: str
    at: float


class Ready(Strict):
    """A worker could begin. Durations are its own; ``at`` only serves to tell how long ago that was."""

    at: float
    remaining_s: float = Field(description="until Lambda ends the function")
    billed_s: float = Field(description="since its start, that of its environment included")


class EndReason(StrEnum):
    """Why a segment ended."""

    FINISHED = "finished"
    TIME = "time"
    """Of the functions, or limits.max_segment_iterations: the next segment goes on."""
    BUDGET = "budget"
    STOPPED = "stopped"

    @property
    def goes_on(self) -> bool:
        """Whether another segment follows."""
        return self is EndReason.TIME


class End(Strict):
    """The leader's word that its segment ends before ``iteration``."""

    iteration: int
    reason: EndReason


class Go(Strict):
    """All workers of the gang could begin, so all do."""

    remaining_s: float = Field(description="until Lambda ends the first of them")
    end: End | None = Field(None, description="where few iterations fit from the start")


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
    init_s: float = Field(0.0, description="billed before the handler was entered: a new environment's start-up")
    iteration_ends: list[float] = Field(description="Unix time at the end of each iteration")
    losses: list[float] = Field(description="this replica's share of each iteration's loss; last stage only")
    peak_memory_mb: float = Field(description="peak resident memory of the process")
    traffic: Traffic
    request_id: str = Field(description="Lambda request id, or a local worker's name")
    checkpoint: dict[str, LayerName] = Field(default_factory=dict, description="by layer index; replica 0 only")
    checkpoint_s: float = Field(0.0, description="from the last iteration's end to the last layer's file being stored")


class FailureKind(StrEnum):
    """How a worker ended before its segment did."""

    EXCEPTION = "exception"
    """Raised by the user's code, or something that another attempt would meet again."""
    ABORTED = "aborted"
    """It obeyed the outcome of its attempt, which somebody else had decided."""
    STALLED = "stalled"
    DIED = "died"
    """Without a word (killed, out of memory, out of time): told by the workflow, or the owner of local processes."""
    THROTTLED = "throttled"
    """Lambda refused to start it."""
    STORAGE = "storage"
    """Storage did not answer, after all repetitions."""
    DIVERGED = "diverged"
    """The loss or a parameter is not finite."""

    @property
    def retryable(self) -> bool:
        """Whether another attempt at the segment may fare better."""
        return self in (FailureKind.STALLED, FailureKind.DIED, FailureKind.THROTTLED, FailureKind.STORAGE)


class Failure(Strict):
    """Why a worker stopped: kept for watch and the report."""

    event: WorkerEvent
    kind: FailureKind
    iteration: int | None = None
    instruction: str | None = None
    error: str
    traceback: str = ""
    at: UnixTime


class Commit(Strict):
    """An attempt's outcome: a complete checkpoint. Number 0 is the initial state; number k ends segment k-1."""

    outcome: Literal["committed"] = "committed"
    number: Annotated[int, Field(ge=0)]
    attempt: Annotated[int, Field(ge=0)] = 0
    base: CommitName | None = Field(description="the commit that this one continues; None for the initial one")
    iteration: int = Field(description="iterations done")
    layers: list[LayerName] = Field(description="file of each layer's state, by layer index")
    layer_bytes: list[int] | None = Field(None, description="initial commit only: the size of each of these files")
    reason: EndReason | None = Field(description="why the segment ended; None for the initial commit")
    billed_s: float = Field(description="worker seconds of the run so far")
    spent_usd: float = Field(description="of the run so far, by the manifest's prices")
    iteration_s: float | None = Field(None, description="longest one of the segment, at the leader")
    checkpoint_s: float | None = Field(None, description="longest one of the segment's workers")
    resumed_from: RunId | None = Field(None, description="initial commit only: the run whose last commit it copies")
    at: float

    @property
    def name(self) -> str:
        """A ``CommitName``."""
        return f"{self.number - 1}-{self.attempt}" if self.number else INITIAL


class Abort(Strict):
    """An attempt's outcome: nothing of it counts, and every worker of its gang stops."""

    outcome: Literal["aborted"] = "aborted"
    reason: Literal["failure", "stopped"]
    retryable: bool = Field(description="whether another attempt at the segment may fare better")
    message: str
    failure: Failure | None = None
    begun_at: UnixTime = Field(description="of the attempt, as far as the writer knows: its workers are paid from then")
    at: UnixTime


Outcome = Annotated[Commit | Abort, Field(discriminator="outcome")]
_OUTCOME: TypeAdapter[Commit | Abort] = TypeAdapter(Outcome)


def parse_outcome(data: bytes | bytearray) -> Commit | Abort:
    """What an attempt's outcome object says. Raises pydantic's ValidationError."""
    return _OUTCOME.validate_json(bytes(data))


class ShardIndex(Strict):
    """The shards of one data set, in order."""

    dataset_sha256: Sha256
    train: list[int] = Field(description="samples of each training shard")
    test: list[int] = Field(description="samples of each test shard")
