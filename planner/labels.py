"""Every plan of a window that may be wanted, from the last layer back: partial plans by what the stages before see.

A partial plan is a path of candidates from some boundary to the last one. With f, b the sums of its forward and
backward paths, Q and q its longest forward and backward queue, the stages before it will see of it

    P = f + b,   E = f + longest (backward pass with its closing),   Q,   q,   objective per second, and of requests

and a stage (f', b', Q', q', closing c) before it makes

    P <- P + f' + b'      E <- max(E + f', P + f' + b' + max(q, q') + c)      Q <- max(Q, Q')      q <- max(q, q')

until at the first layer an iteration takes Q + E. A partial plan is put aside when every plan that ends with it is
unwanted, by the bounds of what may stand before it (``windows``); or when another one from the same boundary is as good
in everything that the objective and the limits see. In a window forward queues below its least one are as good as
that. Backward queues are not: in E each stage's counts with those behind it alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy

from planner.closings import Closings, steps_after
from planner.hulls import Rests, corners
from planner.options import Options
from planner.shortest_paths import least_before
from planner.skyline import rounded, undominated
from planner.windows import Bounds

_FIGURES = (
    "rate",
    "requests",
    "forward_queue",
    "backward_queue",
    "path",
    "longest",
    "work",
    "waits",
    "away",
    "stages",
    "workers",
    "steps",
)
_RATE, _REQUESTS, _FORWARD_QUEUE, _BACKWARD_QUEUE, _PATH, _LONGEST, _WORK, _WAITS, _AWAY, _STAGES, _WORKERS, _STEPS = (
    range(len(_FIGURES))
)
"""``waits``: seconds where forward and backward alternate, by waiting alone. ``away``: micro-batches that are with the
stages of the partial plan, and on their way there, while the stage before waits. ``steps``: workers, as
``Options.steps`` counts them."""
_THIN = 1.001
"""Windows of a wider range of time are looked at between its ends, too."""
_BLOCK = 1 << 18
"""Partial plans times candidates, and partial plans times corners, that are looked at together."""


@dataclass
class _Layer:
    """Partial plans from one boundary: a row of ``_FIGURES`` each, its first candidate, and the row of the rest."""

    figures: numpy.ndarray
    candidate: numpy.ndarray
    rest: numpy.ndarray


class Labels:
    """The search of one window; ``rows`` are the candidates that are left of it."""

    def __init__(self, bounds: Bounds, rows: numpy.ndarray, time_weight: float, limit: float, rivals: int) -> None:
        self.bounds, self.rows, self.time_weight, self.limit, self.rivals = bounds, rows, time_weight, limit, rivals
        self.options: Options = bounds.window.options
        self.limits = self.options.problem.limits
        self.looked_at = 0
        least = bounds.wanting(bounds.rate_before)
        self.reachable = numpy.isfinite(least)
        sums = [bounds.path_before, bounds.fore_before, bounds.closed_before]
        if bounds.fined:
            sums.append(bounds.fined_before)
        if self.options.work is not None:
            sums.append(bounds.work_before)
        sums = [bounds.wanting(each) for each in sums]
        self.corners = [corners(each, bounds.at, least) for each in sums]
        self.rests = [Rests(each, bounds.at, least, times) for each, (_, times) in zip(sums, self.corners, strict=True)]
        self.seen = self._seen()
        self.opening = self._opening()
        self._steps = 0
        self._closings: Closings | None = None

    def _sharpen(self) -> None:
        """Better bounds of what stands before, once there are many partial plans."""
        steps = steps_after(self.looked_at, len(self.rows))
        if steps != self._steps:
            middle = float(self.bounds.at[len(self.bounds.at) // 2])
            self._steps, self._closings = steps, Closings(self.bounds.window, self.rows, middle, steps)

    def _opening(self) -> numpy.ndarray:
        """Of each boundary, the least that the first stage's backward passes and closing add to a plan's path there."""
        options, rows = self.options, self.rows
        seconds = options.backward[rows] + numpy.where(options.first[rows] == 0, options.closing[rows], 0.0)
        nodes = options.boundaries
        (opening,) = least_before(nodes, options.first[rows] * nodes + options.end[rows], seconds[None])
        return opening

    def _seen(self) -> list[int]:
        """Figures that tell one partial plan from another; the others are equal, or nothing depends on them."""
        options = self.options
        seen = [_RATE, _REQUESTS, _FORWARD_QUEUE, _BACKWARD_QUEUE, _PATH, _LONGEST]
        if options.work is not None:
            seen.append(_WORK)
        if options.alternating is not None:
            seen.append(_WAITS)
        for bounded, figure in zip(options.bounded, (_STAGES, _WORKERS), strict=True):
            if bounded:
                seen.append(figure)
        return seen

    def best(self, layer: _Layer, late: Callable[[], bool]) -> _Layer | None:
        """Without those that ``rivals`` others are as good as (the first of equals stay); None when it is too late."""
        figures, options = layer.figures.copy(), self.options
        figures[:, _FORWARD_QUEUE] = numpy.maximum(figures[:, _FORWARD_QUEUE], self.bounds.window.queue[0])
        # A longer backward queue is as good where the path is shorter by as much, or any stage before has one as long.
        boundary = options.first[layer.candidate[0]]
        before = self.rows[options.end[self.rows] == boundary]
        least = options.backward_queue[before].min(initial=inf)
        # E counts as far as the first stage does not close later anyway.
        longest = numpy.maximum(figures[:, _BACKWARD_QUEUE], self.bounds.window.queue[1])
        longest += figures[:, _PATH] + self.opening[boundary]
        figures[:, _LONGEST] = numpy.maximum(figures[:, _LONGEST], longest)
        figures[:, _BACKWARD_QUEUE] = figures[:, _PATH] + numpy.maximum(figures[:, _BACKWARD_QUEUE], least)
        figures = rounded(figures)
        # Counts must not exceed the other's, and must serve a minimum as well: so the missing ones count, too.
        missing = numpy.maximum(0, (self.limits.min_stages, self.limits.min_workers) - figures[:, _STAGES:_STEPS])
        columns = [figures[:, self.seen], missing]
        if self.options.alternating is not None:  # fewer are not better: what waits for them keeps fewer
            columns += [figures[:, [_AWAY]], -figures[:, [_AWAY]]]
        kept = undominated(numpy.hstack(columns), self.rivals, late)
        if kept is None:
            return None
        return _Layer(layer.figures[kept], layer.candidate[kept], layer.rest[kept])

    def extended(self, layer: _Layer, rows: numpy.ndarray) -> _Layer:
        """Each partial plan behind each of some candidates, as far as these keep as many micro-batches as they must."""
        options, count = self.options, len(layer.figures)
        row, rest = numpy.repeat(rows, count), numpy.tile(numpy.arange(count), len(rows))
        new = layer.figures[rest]
        if options.alternating is not None:
            row, rest, new = self._waiting(row, rest, new)
        path = options.forward[row] + options.backward[row]
        new[:, _RATE] += options.rate[row]
        new[:, _REQUESTS] += options.requests[row]
        new[:, _FORWARD_QUEUE] = numpy.maximum(new[:, _FORWARD_QUEUE], options.forward_queue[row])
        new[:, _BACKWARD_QUEUE] = numpy.maximum(new[:, _BACKWARD_QUEUE], options.backward_queue[row])
        new[:, _PATH] += path
        own = new[:, _PATH] + new[:, _BACKWARD_QUEUE] + options.closing[row]
        new[:, _LONGEST] = numpy.maximum(new[:, _LONGEST] + options.forward[row], own)
        if options.work is not None:
            new[:, _WORK] += options.work[row]
        new[:, _STAGES] += 1
        new[:, _WORKERS] += options.replicas[row]
        new[:, _STEPS] += -(-options.replicas[row] // options.unit)
        return _Layer(new, row, rest)

    def _waiting(
        self, row: numpy.ndarray, rest: numpy.ndarray, new: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """Those that have memory for what they must keep, and what comes of it."""
        options = self.options
        assert options.alternating is not None
        held, waits, away = options.waiting(row, new[:, _AWAY], new[:, _PATH], new[:, _STAGES] == 0)
        fits = numpy.flatnonzero(held <= options.alternating.kept[row])
        row, rest, new = row[fits], rest[fits], new[fits]
        path = options.forward[row] + options.backward[row]
        new[:, _WAITS] = numpy.maximum(new[:, _WAITS] + path, waits[fits])
        new[:, _AWAY] = away[fits]
        return row, rest, new

    def promising(self, layer: _Layer) -> numpy.ndarray:
        """Numbers of the partial plans that some plan that is wanted may end with."""
        figures, options, window = layer.figures, self.options, self.bounds.window
        fine = figures[:, _STAGES] <= self.limits.max_stages
        fine &= figures[:, _WORKERS] <= self.limits.max_concurrency
        stages, workers = options.steps
        wanted = numpy.maximum(0, (stages, workers) - figures[:, [_STAGES, _STEPS]]).astype(int)
        state = wanted[:, 0] * (workers + 1) + wanted[:, 1]
        node = options.first[layer.candidate] * self.bounds.states + state
        fine &= self.reachable[node]
        queue = numpy.maximum(figures[:, _FORWARD_QUEUE], window.queue[0])
        backward_queue = numpy.maximum(figures[:, _BACKWARD_QUEUE], window.queue[1])
        path, longest = figures[:, _PATH] + queue, numpy.maximum(figures[:, _LONGEST] + queue, figures[:, _WAITS])
        rate = figures[:, _RATE] + self.time_weight
        room = self.limit - figures[:, _REQUESTS]
        fine &= rate * longest < room
        rows = numpy.flatnonzero(fine)
        begins = [path + backward_queue, longest, path]
        if self.bounds.fined:
            by_stage, by_worker = self.bounds.fines
            fines = by_stage * figures[:, _STAGES] + by_worker * figures[:, _WORKERS] - self.bounds.fines_allowed
            begins.append(path + backward_queue + fines)
        if options.work is not None:
            begins.append(figures[:, _WORK])
        rows = self._by_the_end(rows, node, begins, longest, rate, room)
        if self._closings is not None:
            boundary, left_s = options.first[layer.candidate[rows]], window.high_s - path[rows]
            fore_s = window.high_s - longest[rows]
            least_rate = self._closings.rate(boundary, left_s, figures[rows, _BACKWARD_QUEUE], fore_s)
            rows = rows[(rate[rows] + least_rate) * numpy.maximum(longest[rows], window.low_s) < room[rows]]
        if window.high_s <= window.low_s * _THIN:
            return rows
        for (rates, times), begin in zip(self.corners, begins, strict=True):
            good = []
            for at in range(0, len(rows), _BLOCK // len(rates)):
                part = rows[at : at + _BLOCK // len(rates)]
                seconds = begin[part] + times[:, node[part]]
                with numpy.errstate(invalid="ignore"):  # at the first layer nothing before it has a closing
                    objective = ((rate[part] + rates[:, node[part]]) * seconds).min(axis=0)
                good.append(part[numpy.isnan(objective) | (objective < room[part])])
            rows = numpy.concatenate(good) if good else rows
        return rows

    def _by_the_end(
        self,
        rows: numpy.ndarray,
        node: numpy.ndarray,
        begins: Sequence[numpy.ndarray],
        longest: numpy.ndarray,
        rate: numpy.ndarray,
        room: numpy.ndarray,
    ) -> numpy.ndarray:
        """Of partial plans of these numbers, those that a plan may end with which is done by the window's end.

        What may stand before must be fast enough for that, so it costs something, by each of its bounds. Beginnings
        are the seconds that count besides those of what stands before.
        """
        window, node = self.bounds.window, node[rows]
        least_s = numpy.maximum(longest[rows], window.low_s)
        least_rate = numpy.zeros(len(rows))
        fast = numpy.ones(len(rows), dtype=bool)
        for rests, begin in zip(self.rests, begins, strict=True):
            seconds = window.high_s - begin[rows]
            fastest = rests.fastest[node]
            fast &= fastest <= seconds
            least_s = numpy.maximum(least_s, begin[rows] + fastest)
            least_rate = numpy.maximum(least_rate, rests.rate(node, seconds))
        return rows[fast & ((rate[rows] + least_rate) * least_s < room[rows])]

    def plans(self, most: int, late: Callable[[], bool]) -> list[list[int]] | None:
        """Plans that may be wanted, the best first, as numbers of candidates; None when ``most`` is not enough, or it
        is too late for more.

        Of plans that are no faster and no better than ``rivals`` others none is among them.
        """
        options, last = self.options, self.options.boundaries - 1
        nothing = numpy.zeros(1, dtype=int)
        layers = {last: _Layer(numpy.zeros((1, len(_FIGURES))), nothing, nothing)}
        found: dict[int, list[_Layer]] = {boundary: [] for boundary in range(last + 1)}
        for boundary in reversed(range(last + 1)):
            if found[boundary] and isfinite(self.opening[boundary]):  # else nothing leads there
                joined = _joined(found.pop(boundary))
                layer = joined if boundary == 0 else self.best(joined, late)
                if layer is None:
                    return None
                layers[boundary] = layer
            if boundary not in layers:
                continue
            here = self.rows[options.end[self.rows] == boundary]
            block = max(1, _BLOCK // len(layers[boundary].figures))
            for begin in range(0, len(here), block):
                new = self.extended(layers[boundary], here[begin : begin + block])
                self._sharpen()
                good = self.promising(new)
                self.looked_at += len(good)
                if self.looked_at > most or late():
                    return None
                firsts = options.first[new.candidate[good]]
                for first in numpy.unique(firsts):
                    chosen = good[firsts == first]
                    found[int(first)].append(_Layer(new.figures[chosen], new.candidate[chosen], new.rest[chosen]))
        return self._whole(layers) if 0 in layers else []

    def _whole(self, layers: dict[int, _Layer]) -> list[list[int]]:
        figures, last = layers[0].figures, self.options.boundaries - 1
        seconds = numpy.maximum(figures[:, _FORWARD_QUEUE] + figures[:, _LONGEST], figures[:, _WAITS])
        seconds = numpy.maximum(seconds, figures[:, _WORK])
        objective = (figures[:, _RATE] + self.time_weight) * seconds + figures[:, _REQUESTS]
        plans = []
        best = undominated(numpy.column_stack([objective, seconds]), self.rivals)
        assert best is not None, "never too late"
        for row in best[numpy.argsort(objective[best], kind="stable")]:
            boundary, plan = 0, []
            while boundary != last:
                layer = layers[boundary]
                candidate = int(layer.candidate[row])
                plan.append(candidate)
                row, boundary = layer.rest[row], int(self.options.end[candidate])
            plans.append(plan)
        return plans


def _joined(parts: list[_Layer]) -> _Layer:
    return _Layer(*(numpy.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))
