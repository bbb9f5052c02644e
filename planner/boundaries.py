"""What a micro-batch moves over the boundaries between stages, and at either end of the model.

Boundaries may be columns, as in ``layer_sums``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from planner.layer_sums import Figure, Figures, Index, LayerSums
from planner.platforms import Platform
from runtime.pacing import range_count


@dataclass(frozen=True)
class PassedOn:
    """Requests and bytes: of one micro-batch to and from the stages beside, or of all replicas' summation."""

    puts: Figure
    gets: Figure
    bytes_up: Figure
    bytes_down: Figure


class Boundaries:
    """Of one micro-batch, by boundary: bytes, requests and seconds.

    All that passes is counted as floating-point: the profile does not tell what part of a layer's output is not.

    Args:
        share: bytes on the wire over those in memory.
    """

    def __init__(self, layers: LayerSums, platform: Platform, share: float) -> None:
        profile, count = layers.profile, len(layers.profile.layers)
        inner = range(1, count)
        sent = [round(layers.passed.at(boundary) * share) for boundary in inner]
        returned = [round(layers.returned.at(boundary) * share) for boundary in inner]
        self.sent, self.returned = _between_stages(sent), _between_stages(returned)
        """On the wire: activations, and gradients with respect to these."""
        self._sent_requests = _between_stages(map(range_count, sent))
        self._returned_requests = _between_stages(map(range_count, returned))
        self.inputs = Figures([profile.input_bytes, *[0] * count])
        self.targets = Figures([*[0] * count, profile.target_bytes])
        # Samples are there before they are asked for.
        self.get_s = _between_stages(platform.get_latency_s for _ in inner)
        self.put_s = _between_stages(platform.put_latency_s for _ in inner)

    def passed_on(self, first: Index, end: Index) -> PassedOn:
        """By a stage between two of them."""
        return PassedOn(
            puts=self._returned_requests.at(first) + self._sent_requests.at(end),
            gets=self._sent_requests.at(first) + self._returned_requests.at(end),
            bytes_up=self.returned.at(first) + self.sent.at(end),
            bytes_down=self.sent.at(first) + self.returned.at(end),
        )


def _between_stages(values: Iterable[float]) -> Figures:
    """Nothing at either end."""
    return Figures([0, *values, 0])
