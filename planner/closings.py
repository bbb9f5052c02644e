"""What the stages before a boundary cost at least, where every one of them is to close in time.

Of the stages before a boundary let F be the sum of their forward paths, and N the longest of a stage's closing and the
backward paths from it on to the boundary. A stage more, with forward and backward path f, b and closing c, makes

    F <- F + f      N <- b + max(N, c)

If what stands behind has the path P, and Q is the longest forward queue, then an iteration takes at least Q + P + F + N
(``windows``). The weighted sums of rate and F are least known for each N, in steps of a window's time: there N is
rounded down.
"""

from collections.abc import Iterator, Sequence

import numpy

from planner.windows import Window

_WEIGHTS = 9
"""Of the rate, the first of them none; fewer than ``hulls`` has, as F varies less than a plan's whole time."""
_SPAN = (-4.0, 1.5)
"""Natural logarithms of the lowest and the highest weight over the one about which plans are looked at."""
_STEPS = {5: 96, 50: 256}
"""How many steps are told apart after so many partial plans per candidate: a table costs time, too."""


def steps_after(partial_plans: int, candidates: int) -> int:
    """Into how many steps a window's time is worth being cut; 0: none."""
    return max((steps for least, steps in _STEPS.items() if partial_plans >= least * candidates), default=0)


class Closings:
    """Lower bounds of the rate before each boundary.

    Args:
        rows: the candidates that are left of the window.
        middle: weight about which the bounds are best, seconds per unit of rate.
        steps: of the window's time.
    """

    def __init__(self, window: Window, rows: numpy.ndarray, middle: float, steps: int) -> None:
        self._steps, self._step_s = steps, (window.high_s - window.queue[0]) / steps
        at = numpy.concatenate(([0.0], middle * numpy.exp(numpy.linspace(*_SPAN, _WEIGHTS - 1))))
        closing, queue = window.options.closing[rows], window.options.backward_queue[rows]
        # A stage waits for the longest backward queue from it on: its own or the one that is known behind.
        own, behind = self._sums(window, rows, (closing + queue, closing), at)
        self._own, self._behind = self._least_rates(own, at), self._least_rates(behind, at)

    def _sums(
        self, window: Window, rows: numpy.ndarray, closings: Sequence[numpy.ndarray], at: numpy.ndarray
    ) -> Iterator[numpy.ndarray]:
        """For each way to count closings [weight, boundary, most steps of N]: the least weight · rate + F."""
        options, steps = window.options, self._steps
        first, end = options.first[rows], options.end[rows]
        rate = options.rate[rows] + options.requests[rows] / window.high_s
        own = rate[:, None] * at + options.forward[rows][:, None]
        room_s = numpy.arange(steps + 1) * self._step_s - options.backward[rows][:, None]
        up = self._up(room_s)
        order = numpy.argsort(end, kind="stable")
        begins = numpy.searchsorted(end[order], numpy.arange(options.boundaries + 1))
        for closing in closings:
            place = numpy.where(room_s < closing[:, None], steps + 1, up)
            least = numpy.full((options.boundaries, steps + 2, len(at)), numpy.inf)  # the last: no room
            least[0, :-1] = 0.0
            for node in range(1, options.boundaries):
                here = order[begins[node] : begins[node + 1]]
                if len(here):
                    least[node, :-1] = (least[first[here][:, None], place[here]] + own[here][:, None, :]).min(axis=0)
            yield numpy.ascontiguousarray(numpy.moveaxis(least[:, :-1], 2, 0))

    def _least_rates(self, sums: numpy.ndarray, at: numpy.ndarray) -> numpy.ndarray:
        """[boundary, most steps of F + N, most steps of F]."""
        # After the first boundary F has at most what the least N leaves.
        known = numpy.isfinite(sums[0, 1:]).any(axis=0)
        most = min(self._steps, self._steps - int(numpy.argmax(known)) + 1) if known.any() else 0
        fore_s = numpy.arange(most + 1) * self._step_s
        rates = numpy.where(sums[0][:, :, None] <= fore_s, 0.0, numpy.inf)
        for weight, of_weight in zip(at[1:], sums[1:], strict=True):
            numpy.maximum(rates, (of_weight[:, :, None] - fore_s) / weight, out=rates)
        # Steps of N are what those of both leave, and one more, as F may be anything within its last step.
        found = numpy.empty_like(rates)
        lowest = numpy.full(rates.shape[:2], numpy.inf)
        for fore in range(most + 1):
            less = max(0, fore - 1)
            numpy.minimum(lowest[:, less:], rates[:, : rates.shape[1] - less, fore], out=lowest[:, less:])
            found[:, :, fore] = lowest
        return found

    def rate(
        self, boundary: numpy.ndarray, left_s: numpy.ndarray, queue_s: numpy.ndarray, fore_s: numpy.ndarray
    ) -> numpy.ndarray:
        """Of what stands before boundaries; infinite where nothing can.

        Args:
            left_s: seconds that path and longest forward queue leave of an iteration.
            queue_s: the longest backward queue behind.
            fore_s: seconds that are left for F.
        """
        fore = self._up(fore_s)
        own = self._least(self._own, boundary, self._up(left_s), fore)
        return numpy.maximum(own, self._least(self._behind, boundary, self._up(left_s - queue_s), fore))

    def _up(self, seconds: numpy.ndarray) -> numpy.ndarray:
        return numpy.ceil(seconds / self._step_s).astype(int)

    def _least(
        self, rates: numpy.ndarray, boundary: numpy.ndarray, both: numpy.ndarray, fore: numpy.ndarray
    ) -> numpy.ndarray:
        """With F + N and F of at most so many steps."""
        found = rates[boundary, numpy.clip(both, 0, self._steps), numpy.clip(fore, 0, rates.shape[2] - 1)]
        return numpy.where(numpy.minimum(both, fore) < 0, numpy.inf, found)
