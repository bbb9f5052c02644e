"""The deployment manifest: one training plan as reviewed JSON, and every rule that a plan must satisfy.

The planner writes it, ``infra`` turns it into a stack, workers execute it; they meet only here. Loading checks all
that CDK does not. The text is canonical: the same manifest is always the same bytes, so its SHA-256 names the plan.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from runtime.batches import total_iterations
from runtime.documents import describe_errors, not_finite, shown, unique_keys
from runtime.errors import UserInputError
from runtime.limits import (
    LAMBDA_ACCOUNT_CONCURRENCY,
    LAMBDA_MAX_MEMORY_MB,
    LAMBDA_MAX_TIMEOUT_S,
    LAMBDA_MAX_TMP_MB,
    LAMBDA_MIN_MEMORY_MB,
    LAMBDA_MIN_TMP_MB,
    LAMBDA_UNRESERVED_CONCURRENCY,
    STATES_ARRAY_RANGE_ITEMS,
)
from runtime.prices import ListPrices, Prices
from runtime.schedule import ScheduleName
from runtime.spec import (
    EXACT_WIRE,
    DataSpec,
    EvaluationSpec,
    ModelSpec,
    NonNegative,
    Positive,
    Strict,
    TrainingSpec,
    WireSpec,
)
from runtime.synchronisation import Algorithm

SCHEMA_VERSION = 1
MAX_STAGES = 60
"""A stage is 8 resources (function, version, alias, invoke configuration, role; inbox, its policy, its emptying on
destroy) of CloudFormation's 500 per stack; what all share is 10, with monitoring and a VPC 16."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
JobName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
RunId = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,63}$")]
Requirement = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?(==[A-Za-z0-9.+!_-]+)?$")
]


class Architecture(StrEnum):
    """Instruction set of the functions."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


class OnDestroy(StrEnum):
    """What ``cdk destroy`` does with the artifact bucket (data, checkpoints, weights, reports)."""

    RETAIN = "retain"
    DELETE = "delete"


class PackageSpec(Strict):
    """What ships with the workers besides ``runtime``."""

    source: str = Field(
        max_length=1_024, description="folder with the factories' modules, relative to the manifest, '/'-separated"
    )
    requirements: list[Requirement] = Field(default_factory=list, description="pip requirements of the model's code")

    @model_validator(mode="after")
    def _source_is_relative(self) -> "PackageSpec":
        forbidden = "\\" in self.source or "${" in self.source or not self.source.isprintable()
        if not self.source or self.source.startswith(("/", "~")) or forbidden:
            raise ValueError(f"source must be a relative folder with '/' separators (source: {self.source!r})")
        return self


class DatasetFacts(Strict):
    """What the planner saw in the data; workers and ``start`` refuse other data."""

    train_samples: Annotated[int, Field(ge=1)]
    test_samples: Annotated[int, Field(ge=0)]
    sha256: Sha256


class StagePrediction(Strict):
    """Predicted figures of one worker of a stage; times are seconds per iteration."""

    compute_s: NonNegative
    upload_s: NonNegative
    download_s: NonNegative
    synchronise_s: NonNegative
    memory_mb: NonNegative = Field(description="peak resident memory")
    usd_per_iteration: NonNegative = Field(description="of all replicas of the stage")


class StageSynchronisation(Strict):
    """How the replicas of a stage sum their gradients; without effect where there is one."""

    algorithm: Algorithm = Algorithm.PIPELINED
    piece_bytes: Annotated[int, Field(ge=1024, description="on the wire, at most, of piece_pipelined")] = 1 << 20
    bucket_bytes: Annotated[int, Field(ge=1024)] | None = Field(
        None,
        description="the sum is formed in buckets of at most so many bytes, last layers first, while layers before "
        "them still compute their gradients; null: in one, after all",
    )


class Stage(Strict):
    """Layers ``first_layer`` to ``end_layer - 1`` as one Lambda function, run as ``replicas`` workers."""

    first_layer: Annotated[int, Field(ge=0)]
    end_layer: Annotated[int, Field(ge=1, description="one past the last layer")]
    modules: list[ModuleName] = Field(description="class names of the layers, for the reader")
    memory_mb: Annotated[int, Field(ge=LAMBDA_MIN_MEMORY_MB, le=LAMBDA_MAX_MEMORY_MB)]
    ephemeral_storage_mb: Annotated[int, Field(ge=LAMBDA_MIN_TMP_MB, le=LAMBDA_MAX_TMP_MB)] = LAMBDA_MIN_TMP_MB
    replicas: Annotated[int, Field(ge=1, le=STATES_ARRAY_RANGE_ITEMS)]
    recompute: Annotated[
        bool, Field(description="whether only inputs are kept for backward, and the forward pass is computed again")
    ] = False
    synchronisation: StageSynchronisation = StageSynchronisation()
    predicted: StagePrediction

    @property
    def layers_label(self) -> str:
        last = self.end_layer - 1
        return f"layer {last}" if last == self.first_layer else f"layers {self.first_layer}-{last}"

    @model_validator(mode="after")
    def _names_every_layer(self) -> "Stage":
        if len(self.modules) != self.end_layer - self.first_layer:
            raise ValueError(
                f"modules must name each layer of the stage "
                f"(layers {self.first_layer} to {self.end_layer - 1}, names: {len(self.modules)})"
            )
        return self


class SegmentPlan(Strict):
    """A segment is one gang of invocations; the workflow repeats segments until all iterations are done."""

    iterations: Annotated[int, Field(ge=1, description="predicted; a segment ends when its time or money does")]
    max_iterations: Annotated[int, Field(ge=1, description="of any segment, where the job limits them")] | None = None
    timeout_s: Annotated[int, Field(ge=1, le=LAMBDA_MAX_TIMEOUT_S, description="of each function")]
    stall_timeout_s: Positive = Field(description="a worker gives up when an object it awaits has not come by then")
    checkpoint_s: NonNegative = Field(description="predicted: from the last iteration to the commit")
    attempts: Annotated[int, Field(ge=1, le=100, description="at most, at one segment")] = 3


class Spending(Strict):
    """What a run may cost, and how that is counted (``runtime.spending``)."""

    budget_usd: Positive | None = Field(description="the run stops, with a checkpoint, before it would cost more")
    prices: Prices
    listed: ListPrices | None = Field(None, description="null: those that come with the kit")
    segment_at_most_usd: NonNegative = Field(
        description="worst case of one attempt at a segment: by so much a run may exceed its budget"
    )


class Prediction(Strict):
    """Predicted figures of the whole plan on ``platform``."""

    iteration_s: NonNegative
    total_s: NonNegative
    usd_per_iteration: NonNegative
    usd_total: NonNegative
    objective: NonNegative
    gap: NonNegative = Field(description="proven relative distance of the objective from the optimum")
    merging_loss: NonNegative | None = Field(
        None,
        description="by so much, at most, a plan that has cuts between layers that were merged for the search has "
        "less of the quantity, by the closed form: 0 where none were merged, null where it is not known",
    )
    quantity: Literal["objective", "usd", "seconds", "usd_times_seconds"] = Field(
        "objective", description="what was made little: the job's objective, or what the plan was asked for by"
    )


class Hashes(Strict):
    """SHA-256 of what the plan was made from."""

    job: Sha256
    profile: Sha256
    source: Sha256 = Field(description="of the package's source folder")


class Manifest(Strict):
    """One plan. See the module docstring."""

    schema_version: Literal[1]
    name: JobName
    model: ModelSpec
    data: DataSpec
    dataset: DatasetFacts
    training: TrainingSpec
    wire: WireSpec = EXACT_WIRE
    iterations: Annotated[int, Field(ge=1, description="optimiser steps of the whole run")]
    schedule: ScheduleName = Field(description="order of forward and backward passes")
    platform: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="platform profile planned for")
    architecture: Architecture
    max_concurrency: Annotated[int, Field(ge=1, le=LAMBDA_ACCOUNT_CONCURRENCY - LAMBDA_UNRESERVED_CONCURRENCY)]
    stages: Annotated[list[Stage], Field(min_length=1, max_length=MAX_STAGES)]
    segment: SegmentPlan
    checkpoints_kept: Annotated[int, Field(ge=1, le=100, description="newest commits whose layers are kept")] = 2
    spending: Spending
    package: PackageSpec
    on_destroy: OnDestroy
    evaluation: EvaluationSpec = EvaluationSpec()
    predicted: Prediction
    hashes: Hashes

    @model_validator(mode="after")
    def _whole(self) -> "Manifest":
        expected = 0
        for index, stage in enumerate(self.stages):
            if stage.first_layer != expected or stage.end_layer <= stage.first_layer:
                raise ValueError(
                    f"stages must cover the layers in order and without gaps: stage {index} should begin at layer "
                    f"{expected} and have at least one (first_layer: {stage.first_layer}, end_layer: {stage.end_layer})"
                )
            expected = stage.end_layer
        if self.workers > self.max_concurrency:
            raise ValueError(
                f"all workers run at once, so their number must not exceed max_concurrency "
                f"(workers: {self.workers}, max_concurrency: {self.max_concurrency})"
            )
        training = self.training
        expected = total_iterations(
            self.dataset.train_samples, training.global_batch_size, training.epochs, training.iterations
        )
        if self.iterations != expected:
            raise ValueError(
                f"iterations must follow from the training section and the data "
                f"(iterations: {self.iterations}, expected: {expected})"
            )
        return self

    @property
    def layer_count(self) -> int:
        return self.stages[-1].end_layer

    @property
    def places(self) -> list[tuple[int, int]]:
        """(stage, replica) of every worker."""
        return [(number, replica) for number, stage in enumerate(self.stages) for replica in range(stage.replicas)]

    @property
    def workers(self) -> int:
        """Functions running at the same time."""
        return sum(stage.replicas for stage in self.stages)

    @property
    def segments(self) -> int:
        """As predicted."""
        return -(-self.iterations // self.segment.iterations)

    def to_json(self) -> str:
        """Canonical text: fixed key order, two-space indent, one newline at the end."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=True, allow_nan=False) + "\n"

    @property
    def sha256(self) -> str:
        """Name of this plan: SHA-256 of its canonical text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def parse_manifest(text: str | bytes, origin: str) -> Manifest:
    """Reads and validates a manifest; ``origin`` names it in messages.

    Raises:
        UserInputError: not JSON, another schema version, or a rule of the manifest does not hold.
    """
    try:
        document = json.loads(text, object_pairs_hook=unique_keys)
        at = not_finite(document)
    except (ValueError, RecursionError) as error:
        raise UserInputError(f"{origin}: not valid JSON: {error}. Write it again with `funcpipe plan`.") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise UserInputError(
            f"{origin}: schema_version is {version!r:.120}, this funcpipe reads {SCHEMA_VERSION}. "
            "Write the manifest again with `funcpipe plan`."
        )
    if at is not None:
        raise UserInputError(f"{origin}: {shown(at)}: no finite number. Write the manifest again with `funcpipe plan`.")
    try:
        # From JSON rather than from Python's objects: strict, and yet enums are strings and tuples are lists.
        return Manifest.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise UserInputError(
            describe_errors(error, origin) + "\nCorrect it, or write it again with `funcpipe plan`."
        ) from None


def load_manifest(path: Path) -> Manifest:
    """Reads and validates a manifest file. Raises UserInputError as ``parse_manifest``, and when it is not there."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserInputError(f"{path}: {error.strerror}. Make a manifest with `funcpipe plan JOB`.") from None
    return parse_manifest(text, str(path))


def json_schema() -> str:
    """The text of ``manifest.schema.json``."""
    schema = Manifest.model_json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"
