"""What is trained: model, data, loss, optimiser and batch sizes. The part that a job and a manifest share.

Imports no torch: the objects named here are built by ``runtime.factories``.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

FactoryName = Annotated[
    str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", description="module:function")
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Strict(BaseModel):
    """Base of every validated record: unknown keys are refused, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DType(StrEnum):
    """Element type of parameters, activations and gradients."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def bytes(self) -> int:
        return 4 if self is DType.FLOAT32 else 8


class WireType(StrEnum):
    """Element type of floating-point tensors on their way between workers."""

    NATIVE = "native"
    """As they are computed: exact."""
    BFLOAT16 = "bfloat16"
    """Rounded to 8 significant bits, the exponent's range kept; every sum is formed in the type of the training."""

    def share(self, dtype: DType) -> float:
        """Bytes on the wire over bytes in memory."""
        return 1.0 if self is WireType.NATIVE else 2 / dtype.bytes


class WireSpec(Strict):
    """How floating-point tensors travel. Results are those of plain torch only where all is native."""

    activations: WireType = Field(WireType.NATIVE, description="between stages: activations, and gradients of them")
    gradients: WireType = Field(WireType.NATIVE, description="of parameters, between the replicas of a stage")


EXACT_WIRE = WireSpec()


class ModelSpec(Strict):
    """A callable that returns an ``nn.Sequential``; its children are the layers that a plan may cut between."""

    factory: FactoryName
    args: dict[str, JsonValue] = Field(default_factory=dict, description="keyword arguments of the factory")


class DataSpec(Strict):
    """A callable that returns ``{"train": (inputs, targets), "test": (inputs, targets)}``; ``test`` may be absent.

    All four are tensors or numpy arrays whose first dimension counts samples.
    """

    factory: FactoryName
    args: dict[str, JsonValue] = Field(default_factory=dict, description="keyword arguments of the factory")


class LossName(StrEnum):
    CROSS_ENTROPY = "cross_entropy"
    MSE = "mse"
    L1 = "l1"
    BINARY_CROSS_ENTROPY = "binary_cross_entropy_with_logits"


LossSpec = LossName | FactoryName
"""A built-in loss, or ``module:function`` called as f(output, target); either is the *mean over the samples*."""


class SGD(Strict):
    """torch.optim.SGD."""

    name: Literal["sgd"]
    lr: Positive
    momentum: NonNegative = 0.0
    dampening: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGD":
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening = 0 "
                f"(momentum: {self.momentum}, dampening: {self.dampening})"
            )
        return self

    @property
    def state_copies(self) -> int:
        """Tensors of the parameters' size that the optimiser keeps."""
        return 1 if self.momentum else 0


class Adam(Strict):
    """torch.optim.Adam."""

    name: Literal["adam"]
    lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False

    @property
    def state_copies(self) -> int:
        """Tensors of the parameters' size that the optimiser keeps."""
        return 3 if self.amsgrad else 2


class AdamW(Adam):
    """torch.optim.AdamW."""

    name: Literal["adamw"]  # type: ignore[assignment]
    weight_decay: NonNegative = 1e-2


OptimizerSpec = Annotated[SGD | Adam | AdamW, Field(discriminator="name")]


class TrainingSpec(Strict):
    """How the model is trained. Exactly one of ``epochs`` and ``iterations`` is given."""

    loss: LossSpec
    optimizer: OptimizerSpec
    global_batch_size: Annotated[int, Field(ge=1, description="samples per optimiser step")]
    micro_batch_size: Annotated[int, Field(ge=1, description="samples that flow through the pipeline together")]
    epochs: Annotated[int, Field(ge=1)] | None = None
    iterations: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    dtype: DType = DType.FLOAT32

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingSpec":
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError(
                f"give exactly one of epochs and iterations (epochs: {self.epochs}, iterations: {self.iterations})"
            )
        if self.micro_batch_size > self.global_batch_size:
            raise ValueError(
                f"micro_batch_size must not exceed global_batch_size "
                f"(micro_batch_size: {self.micro_batch_size}, global_batch_size: {self.global_batch_size})"
            )
        return self


class Metric(StrEnum):
    """What the report measures on held-out data besides the loss."""

    ACCURACY = "accuracy"
    """Share of targets that the largest logit (dimension 1 of the output) names."""
    NONE = "none"


class EvaluationSpec(Strict):
    """How the trained model is judged."""

    metric: Metric = Metric.ACCURACY
