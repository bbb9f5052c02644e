"""The profile: a model's layers as measured on one machine, as a versioned file (docs/profile.md). No torch.

Its figures are those of ``planner.layer_figures``, times by thread count as in ``threads``, or by memory size of a
function as in ``memory_mb``.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from planner.compute_speed import by_memory, by_vcpus
from planner.layer_figures import Bytes, LayerProfile, LossProfile, Size, Sizes
from runtime.documents import describe_errors
from runtime.errors import UserInputError
from runtime.limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MIN_MEMORY_MB
from runtime.manifest import DatasetFacts, Sha256
from runtime.spec import DataSpec, DType, LossSpec, ModelSpec, OptimizerSpec, Strict

PROFILE_VERSION = 2
READ_VERSIONS = (1, 2)
"""Version 1 had none of the keys that may be left out here."""

_OPTIONAL = ("memory_mb", "peak_bytes", "sizes", "forward_iqr_s", "backward_iqr_s", "per_sample")
"""Keys that are not written where they are None."""
_ROUNDING = 1e-4
"""By how much, relatively, a line may begin below 0 at size 0: figures in the file are rounded."""


class Profile(Strict):
    """What ``funcpipe profile`` measured, and of what."""

    schema_version: Literal[1, 2]
    model: ModelSpec
    data: DataSpec
    loss: LossSpec
    optimizer: OptimizerSpec
    dtype: DType
    micro_batch_size: Size
    source_sha256: Sha256
    dataset: DatasetFacts
    host: str = Field(description="machine architecture and torch version, for the reader")
    host_cores: Annotated[int, Field(ge=1)]
    threads: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    memory_mb: (
        Annotated[
            list[Annotated[int, Field(ge=LAMBDA_MIN_MEMORY_MB, le=LAMBDA_MAX_MEMORY_MB)]],
            Field(min_length=1, description="memory sizes of the functions that measured, one per entry of threads"),
        ]
        | None
    ) = None
    base_bytes: Bytes = Field(description="resident memory of a worker process before it holds anything")
    library_bytes: Bytes = Field(0, description="of torch's libraries, what the model's passes bring in besides")
    peak_bytes: Bytes | None = Field(None, description="peak resident memory while all layers ran in one process")
    builds_whole_model: bool = Field(description="whether a worker must build all layers before it drops the others'")
    data_bytes: Bytes = Field(description="shards that a worker at either end keeps in memory, at most")
    input_bytes: Bytes = Field(description="inputs of one micro-batch")
    target_bytes: Bytes = Field(description="targets of one micro-batch")
    layers: Annotated[list[LayerProfile], Field(min_length=1)]
    loss_profile: LossProfile
    sizes: Sizes | None = None

    @model_validator(mode="after")
    def _a_figure_per_column(self) -> "Profile":
        if self.memory_mb is not None:
            if sorted(set(self.memory_mb)) != self.memory_mb:
                raise ValueError(f"memory_mb must ascend (memory_mb: {self.memory_mb})")
            if len(self.memory_mb) != len(self.threads) or sorted(self.threads) != self.threads:
                raise ValueError(
                    "threads must not descend, and have one entry per entry of memory_mb "
                    f"(threads: {self.threads}, memory_mb: {self.memory_mb})"
                )
        elif self.threads[0] != 1 or sorted(set(self.threads)) != self.threads:
            raise ValueError(f"threads must ascend from 1 (threads: {self.threads})")
        for key, row in self._rows():
            if len(row) != len(self.threads):
                raise ValueError(f"{key} needs one figure per entry of threads ({key}: {row}, threads: {self.threads})")
        return self

    @model_validator(mode="after")
    def _lines(self) -> "Profile":
        if self.sizes and not self.sizes.measured[0] <= self.micro_batch_size <= self.sizes.measured[-1]:
            raise ValueError(
                "micro_batch_size must be among the sizes measured "
                f"(micro_batch_size: {self.micro_batch_size}, measured: {self.sizes.measured})"
            )
        holders: list[tuple[str, LayerProfile | LossProfile]] = [("loss_profile", self.loss_profile)]
        holders += [(f"layers.{index}", layer) for index, layer in enumerate(self.layers)]
        for key, holder in holders:
            if (self.sizes is None) != (holder.per_sample is None):
                raise ValueError(
                    f"sizes and per_sample belong together (sizes: {'none' if self.sizes is None else 'given'}, "
                    f"{key}.per_sample: {'none' if holder.per_sample is None else 'given'})"
                )
            for name, more in holder.per_sample or ():
                now = getattr(holder, name)
                pairs = zip(now, more, strict=True) if isinstance(more, list) else [(now, more)]
                for figure, each in pairs:
                    if each * self.micro_batch_size > figure * (1 + _ROUNDING) + (0 if isinstance(more, list) else 1):
                        raise ValueError(
                            f"{key}.per_sample.{name}: {self.micro_batch_size} samples would add more than the "
                            f"figure itself (per sample: {each}, {name}: {figure})"
                        )
        return self

    def _rows(self) -> list[tuple[str, list[float]]]:
        """Every list that has one figure per entry of ``threads``, with its key."""
        rows = [("loss_profile.seconds", self.loss_profile.seconds)]
        if self.loss_profile.per_sample is not None:
            rows.append(("loss_profile.per_sample.seconds", self.loss_profile.per_sample.seconds))
        for index, layer in enumerate(self.layers):
            for name in ("forward_s", "backward_s", "forward_iqr_s", "backward_iqr_s"):
                rows.append((f"layers.{index}.{name}", getattr(layer, name)))
            if layer.per_sample is not None:
                rows.append((f"layers.{index}.per_sample.forward_s", layer.per_sample.forward_s))
                rows.append((f"layers.{index}.per_sample.backward_s", layer.per_sample.backward_s))
        return [(key, row) for key, row in rows if row is not None]

    @property
    def size_range(self) -> tuple[int, int]:
        """The least and the largest micro-batch size that ``at`` knows."""
        if self.sizes is None:
            return self.micro_batch_size, self.micro_batch_size
        return self.sizes.measured[0], self.sizes.measured[-1]

    def at(self, micro_batch_size: int) -> "Profile":
        """This profile for micro-batches of another size, each figure by its line; itself for its own size.

        What is planned is named by the digest of the profile that was measured, not of what this returns.

        Raises:
            UserInputError: nothing was measured for such a size: outside ``size_range``.
        """
        if micro_batch_size == self.micro_batch_size:
            return self
        least, most = self.size_range
        if not least <= micro_batch_size <= most:
            known = f"{least} samples only" if least == most else f"{least} to {most} samples"
            raise UserInputError(
                f"the profile holds for micro-batches of {known} (asked for: {micro_batch_size}). Measure again with "
                f"`funcpipe profile JOB --micro-batch-sizes {least},{micro_batch_size}`, with sizes in between, too."
            )
        more = micro_batch_size - self.micro_batch_size
        return self.model_copy(
            update={
                "micro_batch_size": micro_batch_size,
                "input_bytes": round(self.input_bytes * micro_batch_size / self.micro_batch_size),
                "target_bytes": round(self.target_bytes * micro_batch_size / self.micro_batch_size),
                "layers": [layer.grown(more) for layer in self.layers],
                "loss_profile": self.loss_profile.grown(more),
            }
        )

    def seconds_at(self, row: list[float], memory_mb: float, vcpus: float) -> float:
        """One of the profile's times for a function of ``memory_mb``, which gets ``vcpus`` cores' worth of time.

        Args:
            row: by thread count or by memory size, as the profile has it.
        """
        if self.memory_mb is not None:
            return by_memory(self.memory_mb, row, memory_mb)
        return by_vcpus(self.threads, row, vcpus)

    def document(self) -> dict[str, Any]:
        """JSON-ready; what a profile may leave out and this one does is not in it."""
        document = self.model_dump(mode="json")
        for holder in (document, document["loss_profile"], *document["layers"]):
            for key in _OPTIONAL:
                if key in holder and holder[key] is None:
                    del holder[key]
        return document

    def to_json(self) -> str:
        """Canonical text: fixed key order, two-space indent, one newline at the end."""
        return json.dumps(self.document(), indent=2, ensure_ascii=True, allow_nan=False) + "\n"

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
    if version not in READ_VERSIONS or isinstance(version, bool):
        raise UserInputError(
            f"{origin}: schema_version is {version!r}, this funcpipe reads "
            f"{' and '.join(map(str, READ_VERSIONS))}. {_AGAIN}"
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
