"""The profile: a model's layers as measured on one machine, as a versioned file. No torch.

Times are seconds of one micro-batch of ``micro_batch_size`` samples, listed by thread count as in ``threads``.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from runtime.documents import describe_errors
from runtime.errors import UserInputError
from runtime.manifest import DatasetFacts, ModuleName, Sha256
from runtime.spec import DataSpec, DType, LossSpec, ModelSpec, OptimizerSpec, Strict

PROFILE_VERSION = 1

Bytes = Annotated[int, Field(ge=0, le=1 << 50)]
Duration = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Seconds = Annotated[list[Duration], Field(min_length=1)]


class LayerProfile(Strict):
    """One child of the ``nn.Sequential``. Bytes of activations and boundaries are per micro-batch."""

    module: ModuleName = Field(description="class name")
    forward_s: Seconds
    backward_s: Seconds
    step_s: Duration = Field(description="the optimiser's step on its parameters, one thread")
    output_bytes: Bytes = Field(description="what crosses the boundary behind it, as it is sent")
    gradient_bytes: Bytes = Field(description="gradient of its output, as it is sent back")
    activation_bytes: Bytes = Field(description="kept for backward and not already kept by a layer before it")
    shared_input_bytes: Bytes = Field(
        description="of its input, kept by a layer before it and again by it or one after: counts behind a cut"
    )
    output_kept: bool = Field(description="whether it or a layer before it keeps what it returns")
    parameter_bytes: Bytes
    trainable_parameter_bytes: Bytes
    buffer_bytes: Bytes

    @model_validator(mode="after")
    def _part_of_whole(self) -> "LayerProfile":
        if self.trainable_parameter_bytes > self.parameter_bytes:
            raise ValueError(
                "trainable_parameter_bytes is a part of parameter_bytes (trainable_parameter_bytes: "
                f"{self.trainable_parameter_bytes}, parameter_bytes: {self.parameter_bytes})"
            )
        return self


class LossProfile(Strict):
    """The loss on the last layer's output, forward and backward in one figure."""

    seconds: Seconds
    activation_bytes: Bytes


class Profile(Strict):
    """What ``funcpipe profile`` measured, and of what."""

    schema_version: Literal[1]
    model: ModelSpec
    data: DataSpec
    loss: LossSpec
    optimizer: OptimizerSpec
    dtype: DType
    micro_batch_size: Annotated[int, Field(ge=1)]
    source_sha256: Sha256
    dataset: DatasetFacts
    host: str = Field(description="machine architecture and torch version, for the reader")
    host_cores: Annotated[int, Field(ge=1)]
    threads: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    base_bytes: Bytes = Field(description="resident memory of a worker process before it holds anything")
    builds_whole_model: bool = Field(description="whether a worker must build all layers before it drops the others'")
    data_bytes: Bytes = Field(description="shards that a worker at either end keeps in memory, at most")
    input_bytes: Bytes = Field(description="inputs of one micro-batch")
    target_bytes: Bytes = Field(description="targets of one micro-batch")
    layers: Annotated[list[LayerProfile], Field(min_length=1)]
    loss_profile: LossProfile

    @model_validator(mode="after")
    def _a_figure_per_thread_count(self) -> "Profile":
        if self.threads[0] != 1 or sorted(set(self.threads)) != self.threads:
            raise ValueError(f"threads must ascend from 1 (threads: {self.threads})")
        rows = [("loss_profile.seconds", self.loss_profile.seconds)]
        for index, layer in enumerate(self.layers):
            rows.append((f"layers.{index}.forward_s", layer.forward_s))
            rows.append((f"layers.{index}.backward_s", layer.backward_s))
        for key, row in rows:
            if len(row) != len(self.threads):
                raise ValueError(f"{key} needs one figure per entry of threads ({key}: {row}, threads: {self.threads})")
        return self

    def to_json(self) -> str:
        """Canonical text: fixed key order, two-space indent, one newline at the end."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=True, allow_nan=False) + "\n"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()


_AGAIN = "Measure again with `funcpipe profile JOB`."


def parse_profile(text: str | bytes, origin: str) -> Profile:
    """Reads and validates a profile; ``origin`` names it in messages.

    Raises:
        UserInputError: not JSON, another schema version, a figure missing, negative or not finite.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserInputError(f"{origin}: not valid JSON: {error}. {_AGAIN}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != PROFILE_VERSION:
        raise UserInputError(
            f"{origin}: schema_version is {version!r}, this funcpipe reads {PROFILE_VERSION}. {_AGAIN}"
        )
    try:
        # From JSON rather than from Python's objects: strict, and yet enums are strings and tuples are lists.
        return Profile.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise UserInputError(f"{describe_errors(error, origin)}\n{_AGAIN}") from None


def load_profile(path: Path) -> Profile:
    """Reads and validates a profile file. Raises UserInputError as ``parse_profile``, and when it is not there."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserInputError(f"{path}: {error.strerror}. {_AGAIN}") from None
    return parse_profile(text, str(path))
