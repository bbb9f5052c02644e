"""Peak resident memory of a stage's worker, by item; of many stages at once where these are columns of numbers.

Bytes are of one worker.
"""

from dataclasses import dataclass

from planner.layer_sums import Figure, Figures, Index, Largest, LayerSums, whole
from planner.profile_format import Profile
from runtime.pacing import IN_FLIGHT, RANGE_BYTES
from runtime.spec import TrainingSpec, WireSpec
from runtime.synchronisation import Algorithm, Exchange, larger

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
    """One profile and training section; workers that hold nothing take ``base_bytes``.

    Ranges of layers may be columns, as in ``layer_sums``.
    """

    def __init__(self, profile: Profile, training: TrainingSpec, wire: WireSpec, base_bytes: int) -> None:
        self._profile, self._training, self._base_bytes = profile, training, base_bytes
        self._share = wire.activations.share(training.dtype)
        self._layers = LayerSums(profile)
        layers, copies = profile.layers, training.optimizer.state_copies
        # By boundary, of a micro-batch: what a stage keeps besides what its own layers do.
        self._shared = Figures([0, *(layer.shared_input_bytes for layer in layers[1:]), 0])
        unkept = [0 if layer.output_kept else layer.output_bytes for layer in layers[:-1]]
        self._ending = Figures([0, *unkept, profile.loss_profile.activation_bytes + profile.target_bytes])
        self._targets = Figures([*[0] * len(layers), profile.target_bytes])
        self._saved = Largest(
            [
                2 * (layer.parameter_bytes + layer.buffer_bytes + copies * layer.trainable_parameter_bytes)
                for layer in layers
            ]
        )
        self._whole = sum(layer.parameter_bytes + layer.buffer_bytes for layer in layers)

    def kept_bytes(self, first: Index, end: Index, recompute: bool) -> Figure:
        """What a micro-batch leaves between its forward and its backward pass."""
        if recompute:
            return self._layers.entering.at(first) + self._targets.at(end)
        return self._layers.activation.between(first, end) + self._shared.at(first) + self._ending.at(end)

    def _transfer_bytes(self, first: Index, end: Index, in_flight: int, alternating: bool) -> Figure:
        """Objects on their way to and from the stages beside.

        An object on its way down is there twice (bytes, tensors); one on its way up as bytes, and a gradient also as a
        tensor that nothing else keeps. Narrowed, it is less as bytes.
        """
        share, passed, gradients = self._share, self._layers.passed, self._layers.returned
        entering, leaving = passed.at(first), passed.at(end)
        caught, returned = gradients.at(first), gradients.at(end)
        if alternating:
            down, up = (1 + share) * larger(entering, returned), larger(share * leaving, (1 + share) * caught)
            transfers = whole(in_flight * (down + up))
        else:
            forward, backward = (1 + share) * entering + share * leaving, (1 + share) * (returned + caught)
            transfers = whole(in_flight * larger(forward, backward))
        joined = share * larger(entering, returned) > RANGE_BYTES
        return transfers + joined * (IN_FLIGHT * RANGE_BYTES)  # ranges that are being joined

    def stage(
        self,
        first: Index,
        end: Index,
        exchange: Exchange,
        micro_batches: int,
        algorithm: Algorithm,
        recompute: bool,
        kept: int | None,
    ) -> StageMemory:
        """``CostModel.memory`` of a worker with so many micro-batches, whose summation is ``exchange``."""
        profile, layers = self._profile, self._layers
        trainable, buffers = layers.trainable.between(first, end), layers.buffer.between(first, end)
        weights = layers.parameter.between(first, end) + buffers
        copies = self._training.optimizer.state_copies

        activations = (micro_batches if kept is None else kept) * self.kept_bytes(first, end, recompute)
        if recompute:
            # One micro-batch is being computed, at first on a copy of its input, beside the inputs of all.
            activations = activations + self.kept_bytes(first, end, False) + self.kept_bytes(first, end, True)
            weights = weights + buffers
        activations = activations + layers.widest.between(first, end)
        transfers = self._transfer_bytes(first, end, min(IN_FLIGHT, micro_batches), kept is not None)
        training = activations + transfers
        synchronise = larger(0, exchange.held_bytes(algorithm) - training)
        saved = self._saved.between(first, end)
        if profile.builds_whole_model:
            saved = larger(saved, self._whole - weights)
        return StageMemory(
            base=self._base_bytes,
            weights=weights,
            gradients=trainable,
            optimizer=copies * trainable,
            activations=activations,
            transfers=transfers,
            synchronise=synchronise,
            data=profile.data_bytes * (layers.opens.at(first) + layers.closes.at(end)),
            checkpoint=larger(0, saved - training - synchronise),
        )
