"""The job file: what a person asks for. TOML, validated whole; the planner turns it into a manifest.

[model] [data] [training]     what is trained (``runtime.spec``)
[wire]                        element types between workers
[objective] [limits]          what a good plan is, and what it may use
[run]                         budget, attempts, checkpoints
[package] [evaluation]        what ships, what is kept, what the report measures
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from runtime.documents import describe_errors
from runtime.errors import UserInputError
from runtime.limits import (
    LAMBDA_ACCOUNT_CONCURRENCY,
    LAMBDA_MAX_MEMORY_MB,
    LAMBDA_MAX_TMP_MB,
    LAMBDA_MIN_MEMORY_MB,
    LAMBDA_MIN_TMP_MB,
    LAMBDA_UNRESERVED_CONCURRENCY,
    STATES_ARRAY_RANGE_ITEMS,
)
from runtime.manifest import MAX_STAGES, Architecture, JobName, OnDestroy, Requirement
from runtime.schedule import ScheduleName
from runtime.spec import (
    EXACT_WIRE,
    DataSpec,
    EvaluationSpec,
    LossName,
    Metric,
    ModelSpec,
    NonNegative,
    Positive,
    Strict,
    TrainingSpec,
    WireSpec,
    WireType,
)
from runtime.synchronisation import Algorithm

MemoryMb = Annotated[int, Field(ge=LAMBDA_MIN_MEMORY_MB, le=LAMBDA_MAX_MEMORY_MB)]
DEFAULT_MEMORY_MB = (1_024, 1_769, 3_538, 7_076, 10_240)


MicroBatchSizes = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
WireTypes = Annotated[list[WireType], Field(min_length=1)]
Architectures = Annotated[list[Architecture], Field(min_length=1)]


class Objective(Strict):
    """The plan minimises usd_weight · (USD per iteration) + time_weight · (seconds per iteration).

    With usd_weight = 1, time_weight is the price in USD at which you would buy one second less.
    """

    usd_weight: NonNegative = 1.0
    time_weight: NonNegative = 0.001

    @model_validator(mode="after")
    def _wants_something(self) -> "Objective":
        if self.usd_weight == 0 and self.time_weight == 0:
            raise ValueError("usd_weight and time_weight must not both be 0: no plan would be better than another")
        return self


class Limits(Strict):
    """What a plan may use."""

    min_stages: Annotated[int, Field(ge=1, le=MAX_STAGES)] = 1
    max_stages: Annotated[int, Field(ge=1, le=MAX_STAGES)] = 8
    min_workers: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=STATES_ARRAY_RANGE_ITEMS)] = 4
    memory_mb: Annotated[list[MemoryMb], Field(min_length=1, default_factory=lambda: list(DEFAULT_MEMORY_MB))]
    max_concurrency: Annotated[int, Field(ge=1, le=LAMBDA_ACCOUNT_CONCURRENCY - LAMBDA_UNRESERVED_CONCURRENCY)] = 100
    max_segment_iterations: Annotated[int, Field(ge=1)] | None = None
    synchronisation: Annotated[list[Algorithm], Field(min_length=1, default_factory=lambda: list(Algorithm))]

    schedule: Literal["auto"] | ScheduleName = "auto"
    recompute: Literal["auto"] | bool = "auto"
    micro_batch_size: Literal["job", "auto"] | MicroBatchSizes = "job"
    wire: Literal["job", "auto"] | WireTypes = "job"
    architecture: Literal["job", "auto"] | Architectures = "job"

    @property
    def schedules(self) -> list[ScheduleName]:
        """Those that a plan may follow."""
        return list(ScheduleName) if self.schedule == "auto" else [self.schedule]

    @property
    def wire_types(self) -> list[WireType]:
        """Of all that travels, where the job leaves that open; none where it says so itself."""
        if self.wire == "auto":
            return list(WireType)
        return [] if self.wire == "job" else self.wire

    @property
    def architectures(self) -> list[Architecture]:
        """Likewise, of the functions."""
        return (
            list(Architecture)
            if self.architecture == "auto"
            else []
            if self.architecture == "job"
            else self.architecture
        )

    @property
    def recomputations(self) -> list[bool]:
        """What a stage may do about its activations: keep them (False) or compute them again."""
        return [False, True] if self.recompute == "auto" else [self.recompute]

    @model_validator(mode="after")
    def _consistent(self) -> "Limits":
        if self.min_stages > self.max_stages:
            raise ValueError(
                f"min_stages must not exceed max_stages (min_stages: {self.min_stages}, max_stages: {self.max_stages})"
            )
        if max(self.min_workers, self.min_stages) > self.max_concurrency:
            raise ValueError(
                f"min_workers and min_stages must not exceed max_concurrency (min_workers: {self.min_workers}, "
                f"min_stages: {self.min_stages}, max_concurrency: {self.max_concurrency})"
            )
        if self.min_workers > self.max_stages * self.max_replicas:
            raise ValueError(
                f"min_workers must not exceed max_stages × max_replicas (min_workers: {self.min_workers}, "
                f"max_stages: {self.max_stages}, max_replicas: {self.max_replicas})"
            )
        for name in ("memory_mb", "synchronisation", "micro_batch_size", "wire", "architecture"):
            listed = getattr(self, name)
            if isinstance(listed, list) and len(set(listed)) != len(listed):
                what = {"memory_mb": "a size", "synchronisation": "an algorithm"}.get(name, "a value")
                shown = [getattr(each, "value", each) for each in listed]
                raise ValueError(f"{name} lists {what} twice ({name}: {shown})")
        return self


class RunRules(Strict):
    """How a run is kept from losing work or money."""

    budget_usd: Positive | None = None
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    checkpoints_kept: Annotated[int, Field(ge=1, le=100)] = 2


class Package(Strict):
    """What ships with the workers, and what outlives the stack."""

    source: Annotated[str, Field(min_length=1, description="folder of the factories, relative to the job file")] = "."
    requirements: list[Requirement] = Field(default_factory=list)
    architecture: Architecture = Architecture.X86_64
    ephemeral_storage_mb: Annotated[int, Field(ge=LAMBDA_MIN_TMP_MB, le=LAMBDA_MAX_TMP_MB)] = LAMBDA_MIN_TMP_MB
    on_destroy: OnDestroy = OnDestroy.RETAIN

    @model_validator(mode="after")
    def _source_is_relative(self) -> "Package":
        if Path(self.source).is_absolute() or self.source.startswith("~") or "\0" in self.source:
            raise ValueError(f"source must be a folder relative to the job file (source: {self.source!r})")
        return self


class Job(Strict):
    """A job file's content."""

    name: JobName
    model: ModelSpec
    data: DataSpec
    training: TrainingSpec
    wire: WireSpec = EXACT_WIRE
    objective: Objective = Objective()
    limits: Limits = Limits()
    run: RunRules = RunRules()
    package: Package = Package()
    evaluation: EvaluationSpec | None = None

    @property
    def effective_evaluation(self) -> EvaluationSpec:
        """The evaluation section; without one, accuracy where the loss is cross-entropy."""
        if self.evaluation is not None:
            return self.evaluation
        classifies = self.training.loss == LossName.CROSS_ENTROPY
        return EvaluationSpec(metric=Metric.ACCURACY if classifies else Metric.NONE)

    @property
    def sha256(self) -> str:
        """SHA-256 of what the job says; comments and layout of the file do not count."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def source_folder(self, job_path: Path) -> Path:
        """The folder that ships.

        Raises:
            UserInputError: there is none at that place.
        """
        folder = job_path.parent / self.package.source
        if not folder.is_dir():
            raise UserInputError(
                f"{job_path}: package.source: no such folder (given: {self.package.source!r}, which is {folder}). "
                "Name the folder with the model's code, relative to the job file."
            )
        return folder


def _fields_at(location: tuple[int | str, ...]) -> dict[str, Any] | None:
    """The keys that the job may have in the section at ``location``, or None where that is not a plain section."""
    model: Any = Job
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return None
        model = field.annotation
    return getattr(model, "model_fields", None)


def _explain(error: ValidationError, origin: str) -> str:
    """The findings; an unknown key is answered with the keys that its section knows."""
    lines = describe_errors(error, origin).split("\n")
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            fields = _fields_at(item["loc"][:-1])
            if fields:
                section = ".".join(map(str, item["loc"][:-1])) or "the top level"
                lines.append(f"{origin}: {section} may hold: {', '.join(fields)}")
    return "\n".join(lines)


def load_job(path: Path) -> Job:
    """Reads and validates a job file.

    Raises:
        UserInputError: not there, not TOML, or a key unknown, missing or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserInputError(f"{path}: {error.strerror}. Write a job file with `funcpipe init`.") from None
    except UnicodeDecodeError as error:
        raise UserInputError(f"{path}: not UTF-8 text: {error}. A job is a TOML file; see `funcpipe init`.") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserInputError(f"{path}: not valid TOML: {error}.") from None
    try:
        Job.model_validate(document)  # dates, which JSON has no word for, are refused here
        # Strictly, so that true is no 1 and "8" no 8; as JSON, because enums are then strings and tuples lists.
        return Job.model_validate_json(json.dumps(document, allow_nan=False), strict=True)
    except ValidationError as error:
        raise UserInputError(_explain(error, str(path))) from None
    except ValueError:
        raise UserInputError(f"{path}: model.args and data.args may not hold nan or inf: give a number.") from None
