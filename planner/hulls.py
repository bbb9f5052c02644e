"""Lower bounds of a product from lower bounds of weighted sums.

A set of plans has rates r (objective per second) and times p. For some weights w the least w·r + p over the set is
known: g(w). All plans then lie above the lines w·r + p = g(w). As (r + c)·p is quasi-concave, its least value on what
lies above is at a corner of these lines: with exact sums, of the set's convex hull as seen through so many weights.
"""

import numpy

WEIGHTS = 24
"""Lines of a hull, the first of them p alone; one more corner is at the least r."""
SPAN = 40.0
"""The largest weight over the one in the middle, about which they are densest, and that one over the smallest."""
_CROWDING = 2.5


def weights(middle: float, span: float = SPAN) -> numpy.ndarray:
    """Seconds per unit of rate, ascending from 0."""
    steps = numpy.sinh(_CROWDING * numpy.linspace(-1, 1, WEIGHTS - 1)) / numpy.sinh(_CROWDING)
    return numpy.concatenate(([0.0], middle * numpy.exp(steps * numpy.log(span))))


def concave(sums: numpy.ndarray, at: numpy.ndarray) -> numpy.ndarray:
    """``sums``, a row per weight, raised to their upper concave envelope.

    The true least sum is concave in the weight, as a minimum of linear functions: where it lies above two points, it
    lies above what is between them. Columns that are not finite (no path) stay.
    """
    raised = numpy.where(numpy.isfinite(sums), sums, 0.0)
    result = raised.copy()
    for middle in range(1, len(at) - 1):
        low, high = numpy.arange(middle), numpy.arange(middle + 1, len(at))
        share = (at[middle] - at[low])[:, None] / (at[high][None, :] - at[low][:, None])
        chords = raised[low][:, None, :] * (1 - share)[:, :, None] + raised[high][None, :, :] * share[:, :, None]
        result[middle] = numpy.maximum(result[middle], chords.max(axis=(0, 1)))
    return numpy.where(numpy.isfinite(sums), result, sums)


def corners(sums: numpy.ndarray, at: numpy.ndarray, least: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Rates and times of the corners of each column's lines, from the fastest down to the ``least`` rate."""
    with numpy.errstate(invalid="ignore"):
        rates = numpy.diff(sums, axis=0) / numpy.diff(at)[:, None]
        times = sums[:-1] - at[:-1, None] * rates
        last = sums[-1] - at[-1] * least
    return numpy.vstack([numpy.maximum(rates, least), least]), numpy.vstack([times, last])


class Rests:
    """The least rate in a time, by node: what else a plan costs that is to be done by then.

    Args:
        sums: least w·r + p, a row per weight ``at``, a column per node; infinite where nothing is known.
        least: lower bounds of r.
        times: of these lines' ``corners``.
    """

    def __init__(self, sums: numpy.ndarray, at: numpy.ndarray, least: numpy.ndarray, times: numpy.ndarray) -> None:
        self._sums, self._slopes, self._least = sums, 1 / at[1:], least
        self.fastest = sums[0]
        """Seconds, at least."""
        turns = numpy.where(numpy.isfinite(times[1:-1]), times[1:-1], 0.0)
        turns = numpy.maximum.accumulate(numpy.maximum(turns, 0.0), axis=0)
        # Where a line of each node meets the next: all nodes in one ascending row, each in a range of its own.
        self._most, self._lines = float(turns.max(initial=0.0)), len(turns)
        self._turns = (turns.T + self._begin(numpy.arange(turns.shape[1]))[:, None]).ravel()

    def _begin(self, node: numpy.ndarray) -> numpy.ndarray:
        return node * (2 * self._most + 1)

    def rate(self, node: numpy.ndarray, seconds: numpy.ndarray) -> numpy.ndarray:
        """Lower bounds, by that line of a node that says the most; each of them would be one."""
        place = numpy.clip(seconds, 0.0, self._most) + self._begin(node)
        line = numpy.clip(numpy.searchsorted(self._turns, place, side="right") - node * self._lines, 0, self._lines)
        found = (self._sums[line + 1, node] - seconds) * self._slopes[line]
        return numpy.maximum(found, self._least[node])


def least_product(
    sums: numpy.ndarray,
    at: numpy.ndarray,
    least: numpy.ndarray,
    constant: float,
    low: float,
    high: float,
) -> numpy.ndarray:
    """By column, a lower bound of (r + ``constant``)·p where ``low`` ≤ p ≤ ``high``; infinite where there is none.

    Args:
        sums: least w·r + p, a row per weight ``at``, concave.
        least: lower bounds of r.
    """
    rates, times = corners(sums, at, least)
    inside = (times >= low) & (times <= high)
    found = numpy.where(inside, (rates + constant) * times, numpy.inf).min(axis=0)
    for end in (low, high):
        if 0 < end < numpy.inf:
            rate = numpy.maximum(((sums[1:] - end) / at[1:, None]).max(axis=0), least)
            found = numpy.minimum(found, numpy.where(sums[0] <= end, (rate + constant) * end, numpy.inf))
    return found
