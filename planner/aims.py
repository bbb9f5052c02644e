"""What is best among plans by the closed form: the least of a quantity, within bounds.

Seconds and USD are per iteration.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

import numpy

from planner.job import Objective

ROUNDING = 1e-9
"""Relative: by so little a bound may be broken, since sums of floats are not exact."""


class Quantity(StrEnum):
    """What is to be little."""

    OBJECTIVE = "objective"
    """The weighted sum of the job."""
    USD = "usd"
    SECONDS = "seconds"
    PRODUCT = "usd_times_seconds"


@dataclass(frozen=True)
class Aim:
    """The least of ``quantity`` among plans that take at most ``most_s`` and cost at most ``most_usd``.

    Searches bound plans by ``objective``, as amounts in its unit: USD, unless the job's own objective is the quantity.
    """

    objective: Objective
    quantity: Quantity = Quantity.OBJECTIVE
    most_s: float = inf
    most_usd: float = inf

    @classmethod
    def of(cls, quantity: Quantity, most_s: float = inf, most_usd: float = inf) -> "Aim":
        """For what is not the job's own objective."""
        return cls(Objective(usd_weight=1, time_weight=0), quantity, most_s, most_usd)

    def value(self, seconds: float, amount: float) -> float:
        """Of a plan; infinite where it breaks a bound. Of lower bounds of both it is a lower bound."""
        return float(self.values(numpy.array(seconds), numpy.array(amount)))

    def values(self, seconds: numpy.ndarray, amounts: numpy.ndarray) -> numpy.ndarray:
        """``value`` of many."""
        if self.quantity is Quantity.SECONDS:
            found = seconds
        elif self.quantity is Quantity.PRODUCT:
            with numpy.errstate(invalid="ignore"):  # no time, and no plan: infinite below
                found = seconds * amounts
        else:
            found = amounts
        broken = (seconds > self.most_s * (1 + ROUNDING)) | (amounts > self.most_usd * (1 + ROUNDING))
        return numpy.where(broken | (amounts == inf), inf, found)

    def limit(self, value: float, seconds: float) -> float:
        """Of plans that take at least ``seconds``, those of an amount below this may have a lower value."""
        if seconds > self.most_s * (1 + ROUNDING):
            return 0.0
        most = value
        if self.quantity is Quantity.SECONDS:
            most = inf if seconds < value else 0.0
        elif self.quantity is Quantity.PRODUCT:
            most = value / seconds if seconds > 0 else inf
        return min(most, self.most_usd * (1 + ROUNDING))

    def longest_s(self, value: float, least_rate: float) -> float:
        """No plan of a lower value takes longer, if each has at least this amount per second."""
        longest = self.most_s * (1 + ROUNDING)
        if self.quantity is Quantity.SECONDS:
            longest = min(longest, value)
        if least_rate <= 0:
            return longest
        if self.quantity is Quantity.PRODUCT:
            longest = min(longest, (value / least_rate) ** 0.5)
        elif self.quantity is not Quantity.SECONDS:
            longest = min(longest, value / least_rate)
        return min(longest, self.most_usd * (1 + ROUNDING) / least_rate)
