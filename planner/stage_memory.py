"""Peak resident memory of a stage's worker, by item.

Bytes are of one worker.
"""

from dataclasses import dataclass

from planner.layer_sums import LayerSums
from planner.profile_format import Profile
from runtime.pacing import IN_FLIGHT, RANGE_BYTES
from runtime.spec import TrainingSpec, WireSpec
from runtime.synchronisation import Algorithm, Exchange

MIB = 1 << 20
HEAD_ROOM = 0.10
"""Share of the predicted peak that a memory size must offer on top: allocator fragmentation, interpreter garbage."""


@dataclass(frozen=True)
class StageMemory:
    """Peak resident bytes of one worker, by item."""

    base: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    transfers: int
    synchronise: int
    """Flat gradients and splits on their way, as far as they exceed the activations and transfers, gone by then."""
    data: int
    checkpoint: int
    """Loading and saving layers, likewise."""

    @property
    def total(self) -> int:
        return sum(vars(self).values())

    @property
    def predicted_mb(self) -> float:
        return self.total / MIB

    @property
    def needed_mb(self) -> float:
        """Memory size that the stage fits into: the predicted peak and the head-room."""
        return needed_mb(self.total)


def needed_mb(total: int) -> float:
    """Memory size that a worker with a peak of so many bytes fits into: the head-room comes on top."""
    return total / MIB * (1 + HEAD_ROOM)


class MemoryModel:
    """One profile and training section; workers that hold nothing take ``base_bytes``."""

    def __init__(self, profile: Profile, training: TrainingSpec, wire: WireSpec, base_bytes: int) -> None:
        self._profile, self._training, self._base_bytes = profile, training, base_bytes
        self._share = wire.activations.share(training.dtype)
        self._layers = LayerSums(profile)

    def kept_bytes(self, first: int, end: int, recompute: bool) -> int:
        """What a micro-batch leaves between its forward and its backward pass."""
        if recompute:
            closes = end == len(self._profile.layers)
            return self._layers.boundary_bytes(first) + (self._profile.target_bytes if closes else 0)
        profile, layers = self._profile, self._profile.layers
        kept = self._layers.total("activation_bytes", first, end)
        kept += 0 if first == 0 else layers[first].shared_input_bytes
        if end == len(layers):
            kept += profile.loss_profile.activation_bytes + profile.target_bytes
        elif not layers[end - 1].output_kept:
            kept += layers[end - 1].output_bytes
        return kept

    def _transfer_bytes(self, first: int, end: int, in_flight: int, alternating: bool) -> int:
        """Objects on their way to and from the stages beside.

        An object on its way down is there twice (bytes, tensors); one on its way up as bytes, and a gradient also as a
        tensor that nothing else keeps. Narrowed, it is less as bytes.
        """
        layers, share = self._profile.layers, self._share
        opens, closes = first == 0, end == len(layers)
        entering = 0 if opens else self._layers.boundary_bytes(first)
        leaving = 0 if closes else layers[end - 1].output_bytes
        caught = 0 if opens else layers[first - 1].gradient_bytes
        returned = 0 if closes else layers[end - 1].gradient_bytes
        if alternating:
            down, up = (1 + share) * max(entering, returned), max(share * leaving, (1 + share) * caught)
            transfers = round(in_flight * (down + up))
        else:
            forward, backward = (1 + share) * entering + share * leaving, (1 + share) * (returned + caught)
            transfers = round(in_flight * max(forward, backward))
        if share * max(entering, returned) > RANGE_BYTES:
            transfers += IN_FLIGHT * RANGE_BYTES  # ranges that are being joined
        return transfers

    def stage(
        self,
        first: int,
        end: int,
        exchange: Exchange,
        micro_batches: int,
        algorithm: Algorithm,
        recompute: bool,
        kept: int | None,
    ) -> StageMemory:
        """``CostModel.memory`` of a worker with so many micro-batches, whose summation is ``exchange``."""
        profile, layers, sums = self._profile, self._profile.layers, self._layers
        trainable = sums.total("trainable_parameter_bytes", first, end)
        buffers = sums.total("buffer_bytes", first, end)
        weights = sums.total("parameter_bytes", first, end) + buffers
        copies = self._training.optimizer.state_copies

        activations = (micro_batches if kept is None else kept) * self.kept_bytes(first, end, recompute)
        if recompute:
            # One micro-batch is being computed, at first on a copy of its input, beside the inputs of all.
            activations += self.kept_bytes(first, end, False) + self.kept_bytes(first, end, True)
            weights += buffers
        activations += sums.widest(first, end)
        transfers = self._transfer_bytes(first, end, min(IN_FLIGHT, micro_batches), kept is not None)
        training = activations + transfers
        synchronise = max(0, exchange.held_bytes(algorithm) - training)
        saved = 2 * max(
            layer.parameter_bytes + layer.buffer_bytes + copies * layer.trainable_parameter_bytes
            for layer in layers[first:end]
        )
        if profile.builds_whole_model:
            every = len(layers)
            whole = sums.total("parameter_bytes", 0, every) + sums.total("buffer_bytes", 0, every)
            saved = max(saved, whole - weights)
        return StageMemory(
            base=self._base_bytes,
            weights=weights,
            gradients=trainable,
            optimizer=copies * trainable,
            activations=activations,
            transfers=transfers,
            synchronise=synchronise,
            data=profile.data_bytes * ((first == 0) + (end == len(layers))),
            checkpoint=max(0, saved - training - synchronise),
        )
