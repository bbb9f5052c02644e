"""Times of a model's layers for one thread count: of the job's micro-batch size, and beside it of several sizes.

The job's own size is measured as a worker runs it, pass after pass; medians count. For the slopes, passes of all sizes
take turns, so that whatever else the machine does meets them alike, and of each size the fastest counts, which that
lengthens least: what matters of these is only how times grow from size to size.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean, median, quantiles
from time import perf_counter
from typing import Any

import torch

from planner.layer_passes import LayerPasses, PassTimes
from planner.rounding import significant
from planner.size_fit import Misfit, fit
from runtime.spec import Strict

WARM_UP_PASSES = 2
MIN_PASSES = 5
MAX_PASSES = 50
BUDGET_S = 4.0
"""Per thread count, once MIN_PASSES are done."""
MIN_TURNS = 3
MAX_TURNS = 30
TURNS_BUDGET_S = 2.0
"""Per thread count, once MIN_TURNS are done."""
SWEEPS = 3
"""At most, until the line fits: something else may have kept the machine busy."""


_BY_LAYER = ("forward_s", "backward_s", "forward_iqr_s", "backward_iqr_s", "step_s")


class Column(Strict):
    """What one thread count (or one function) measured; lists by layer. Times are medians over passes."""

    threads: int
    forward_s: list[float]
    backward_s: list[float]
    forward_iqr_s: list[float]
    backward_iqr_s: list[float]
    step_s: list[float]
    """Of the optimiser, one thread."""
    loss_s: float
    mean_pass_s: float
    """Of all layers and the loss, forward and backward: by means, not medians."""
    growth: dict[str, list[float]]
    """By name of ``figures``: what one more sample adds, as a share; empty where only one size was measured."""
    fit_error: float
    """Of its lines, at the size held out."""
    misfit: Misfit | None

    def figures(self, name: str) -> list[float]:
        """By a name of ``growth``."""
        return [self.loss_s] if name == "loss_s" else list(getattr(self, name))

    def stretched(self) -> "Column":
        """For a share of a core: it comes as a whole core with pauses, which medians of short passes do not see."""
        middle = sum(self.forward_s) + sum(self.backward_s) + self.loss_s
        factor = max(1.0, self.mean_pass_s / middle) if middle else 1.0
        scaled = {name: [significant(factor * each) for each in getattr(self, name)] for name in _BY_LAYER}
        return self.model_copy(update={**scaled, "loss_s": significant(factor * self.loss_s)})


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """Lets torch compute with ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _spread(values: list[float]) -> float:
    """Interquartile range."""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return high - low


def _own_times(passes: LayerPasses) -> PassTimes:
    times = PassTimes.empty(passes)
    for _ in range(WARM_UP_PASSES):
        passes.pass_once(None)
    begin = perf_counter()
    for done in range(MAX_PASSES):
        if done >= MIN_PASSES and perf_counter() - begin > BUDGET_S:
            break
        passes.pass_once(times)
    return times


def figures(times: PassTimes, of: Callable[[list[float]], float] = median) -> dict[str, list[float]]:
    """One number of each layer's passes, by name, as ``planner.size_fit`` takes them."""
    return {
        "forward_s": [of(each) for each in times.forward],
        "backward_s": [of(each) for each in times.backward],
        "loss_s": [of(times.loss)],
    }


def _sweep(by_size: Mapping[int, LayerPasses]) -> dict[int, dict[str, list[float]]]:
    """Figures of all sizes, whose passes take turns."""
    times = {size: PassTimes.empty(passes) for size, passes in by_size.items()}
    for passes in by_size.values():
        passes.pass_once(None)
    begin = perf_counter()
    for done in range(MAX_TURNS):
        if done >= MIN_TURNS and perf_counter() - begin > TURNS_BUDGET_S:
            break
        for size, passes in by_size.items():
            passes.pass_once(times[size])
    return {size: figures(each, min) for size, each in times.items()}


def measure_column(
    threads: int,
    by_size: Mapping[int, LayerPasses],
    own: int,
    held_out: int | None,
    max_fit_error: float,
    optimizer: Callable[[Any], torch.optim.Optimizer | None],
) -> Column:
    """Measures with ``threads`` threads.

    Args:
        by_size: one for each size; only ``own`` where nothing is held out.
        optimizer: of one layer's parameters.
        max_fit_error: a sweep that fits worse is done again, at most ``SWEEPS`` times in all; the best one counts.
    """
    with threads_set(threads):
        times = _own_times(by_size[own])
        best, swept = None, {}
        for _ in range(SWEEPS if held_out is not None else 0):
            assert held_out is not None
            found = _sweep(by_size)
            fitted = fit(own, held_out, found)
            if best is None or fitted.errors["s"] < best.errors["s"]:
                best, swept = fitted, found[own]
            if best.errors["s"] <= max_fit_error:
                break
    with threads_set(1):
        steps = [by_size[own].step_s(index, optimizer) for index in range(len(by_size[own].layers))]
    medians = figures(times)
    column = Column(
        threads=threads,
        forward_s=[significant(value) for value in medians["forward_s"]],
        backward_s=[significant(value) for value in medians["backward_s"]],
        forward_iqr_s=[significant(_spread(each)) for each in times.forward],
        backward_iqr_s=[significant(_spread(each)) for each in times.backward],
        step_s=[significant(value) for value in steps],
        loss_s=significant(medians["loss_s"][0]),
        mean_pass_s=significant(sum(sum(row) for row in figures(times, fmean).values())),
        growth={},
        fit_error=0.0,
        misfit=None,
    )
    if best is None:
        return column
    growth = {
        name: [each / base if base else 0.0 for each, base in zip(row, swept[name], strict=True)]
        for name, row in best.per_sample.items()
    }
    return column.model_copy(
        update={"growth": growth, "fit_error": significant(best.errors["s"]), "misfit": best.worst["s"]}
    )


def slopes_of(columns: Sequence[Column]) -> dict[str, list[list[float]]]:
    """Seconds per sample by name, layer and column. A column without a sweep of its own grows as the first one does."""
    slopes: dict[str, list[list[float]]] = {}
    for name, first in columns[0].growth.items():
        slopes[name] = []
        for layer in range(len(first)):
            grown = [column.growth[name][layer] if column.growth else first[layer] for column in columns]
            now = [column.figures(name)[layer] for column in columns]
            slopes[name].append([significant(figure * each) for figure, each in zip(now, grown, strict=True)])
    return slopes
