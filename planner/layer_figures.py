"""What was measured of one layer, and of the loss, as a profile's file holds it: figures, and how they grow. No torch.

Times are seconds of one micro-batch, one for each column of the profile. What one more sample adds (``per_sample``)
makes each figure a line α + β·size, of which β is ``per_sample`` and α what remains of the figure.
"""

from typing import Annotated, Any

from pydantic import Field, model_validator

from runtime.manifest import ModuleName
from runtime.spec import Strict

Bytes = Annotated[int, Field(ge=0, le=1 << 50)]
Duration = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Seconds = Annotated[list[Duration], Field(min_length=1)]
BytesPerSample = Annotated[float, Field(ge=0, le=1 << 50, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PerSample(Strict):
    """What one more sample in the micro-batch adds to a layer's figures."""

    forward_s: Seconds
    backward_s: Seconds
    output_bytes: BytesPerSample
    gradient_bytes: BytesPerSample
    activation_bytes: BytesPerSample
    shared_input_bytes: BytesPerSample


class LayerProfile(Strict):
    """One child of the ``nn.Sequential``. Bytes of activations and boundaries are per micro-batch."""

    module: ModuleName = Field(description="class name")
    forward_s: Seconds = Field(description="median over passes")
    backward_s: Seconds = Field(description="median over passes")
    forward_iqr_s: Seconds | None = Field(None, description="spread: interquartile range over passes")
    backward_iqr_s: Seconds | None = Field(None, description="spread: interquartile range over passes")
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
    per_sample: PerSample | None = None

    @model_validator(mode="after")
    def _part_of_whole(self) -> "LayerProfile":
        if self.trainable_parameter_bytes > self.parameter_bytes:
            raise ValueError(
                "trainable_parameter_bytes is a part of parameter_bytes (trainable_parameter_bytes: "
                f"{self.trainable_parameter_bytes}, parameter_bytes: {self.parameter_bytes})"
            )
        return self

    def grown(self, samples: int) -> "LayerProfile":
        """Its figures for a micro-batch of ``samples`` more (or, negative, fewer)."""
        assert self.per_sample is not None, "a profile with sizes has it for every layer"
        return self.model_copy(update=_moved(self, self.per_sample, samples))


class LossPerSample(Strict):
    """What one more sample in the micro-batch adds to the loss's figures."""

    seconds: Seconds
    activation_bytes: BytesPerSample


class LossProfile(Strict):
    """The loss on the last layer's output, forward and backward in one figure."""

    seconds: Seconds
    activation_bytes: Bytes
    per_sample: LossPerSample | None = None

    def grown(self, samples: int) -> "LossProfile":
        """Its figures for a micro-batch of ``samples`` more (or, negative, fewer)."""
        assert self.per_sample is not None, "a profile with sizes has it for the loss"
        return self.model_copy(update=_moved(self, self.per_sample, samples))


class Sizes(Strict):
    """Over which micro-batch sizes the lines hold, and how well they tell what was measured at one left out of them."""

    measured: Annotated[list[Size], Field(min_length=2)]
    held_out: Size
    time_error: Share = Field(description="at the held-out size: the layers' absolute errors over their sum")
    bytes_error: Share = Field(description="likewise, of what is kept and sent")

    @model_validator(mode="after")
    def _ascend(self) -> "Sizes":
        if sorted(set(self.measured)) != self.measured:
            raise ValueError(f"measured must ascend (measured: {self.measured})")
        if self.held_out in self.measured or not self.measured[0] < self.held_out < self.measured[-1]:
            raise ValueError(
                "held_out must lie between the sizes measured and be none of them "
                f"(held_out: {self.held_out}, measured: {self.measured})"
            )
        return self


def _moved(figures: LayerProfile | LossProfile, per_sample: Strict, samples: int) -> dict[str, Any]:
    """The figures that change with the micro-batch, ``samples`` (also negative) further along their lines."""
    moved: dict[str, Any] = {}
    for name, more in per_sample:
        now = getattr(figures, name)
        if isinstance(more, list):
            moved[name] = [max(0.0, one + samples * each) for one, each in zip(now, more, strict=True)]
        else:
            moved[name] = max(0, round(now + samples * more))
    return moved
