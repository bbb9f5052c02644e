"""Windows of a search: plans whose iteration time and longest queues lie in ranges, and lower bounds for them.

With f, b the sums of the stages' forward and backward paths, Q and q the longest forward and backward queue of a stage,
and c a stage's closing, an iteration takes

    T = f + Q + max over stages i of (b of the stages from i on + longest q of these + c_i)

Only Q, q and the maximum are not sums. In a window Q ≥ Q_low and q ≥ q_low, and no stage has more than Q_high, q_high.
What is left are shortest paths, for each of ``hulls``'s weights one (objective per second times weight, plus seconds):
before and behind every boundary, with what a stage's closing asks for where it is the longest. Requests count as spread
over the time of the window's end, which is not more than they are.
"""

from dataclasses import dataclass

import numpy

from planner.fines import Fines, best_fines
from planner.hulls import concave, least_product
from planner.options import Options


@dataclass(frozen=True)
class Window:
    """Candidates (by number, ascending) of plans that take ``low_s`` to ``high_s``."""

    options: Options
    rows: numpy.ndarray
    low_s: float
    high_s: float
    queue: tuple[float, float]
    """Q_low and q_low."""
    fines: Fines | None = None
    """Of the window that it is a part of."""
    failures: int = 0
    """How often what it is a part of had too many partial plans."""

    def part(self, rows: numpy.ndarray, low_s: float, high_s: float, queue: tuple[float, float]) -> "Window | None":
        """The window's part of these candidates; None when they have no stage with such queues."""
        lows = []
        for values, low in zip(self.queues(rows), queue, strict=True):
            longer = values[values >= low]
            if not len(longer):
                return None
            lows.append(float(longer.min()))
        return Window(self.options, rows, low_s, high_s, (lows[0], lows[1]), self.fines, self.failures)

    def queues(self, rows: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        return self.options.forward_queue[rows], self.options.backward_queue[rows]


def whole(options: Options, low_s: float, high_s: float) -> Window:
    """Every plan that takes ``low_s`` to ``high_s``."""
    lows = (float(options.forward_queue.min()), float(options.backward_queue.min()))
    return Window(options, numpy.arange(len(options.rate)), low_s, high_s, lows)


class Bounds:
    """Shortest paths over a window's candidates, a row per weight.

    Nodes are numbered boundary by boundary; those of a boundary by how many stages, then workers are still asked for.
    """

    def __init__(self, window: Window, at: numpy.ndarray) -> None:
        self.window, self.at = window, at
        options, rows = window.options, window.rows
        self._stages, self._workers = options.steps
        self.states = (self._stages + 1) * (self._workers + 1)
        rate = options.rate[rows] + options.requests[rows] / window.high_s
        forward, both = options.forward[rows], options.forward[rows] + options.backward[rows]
        opens = options.first[rows] == 0
        closing = options.closing[rows]
        queue = options.backward_queue[rows]
        queue = numpy.where(opens, numpy.maximum(queue, window.queue[1]), queue)
        weighted = at[:, None] * rate
        self.rate = rate
        self.work = None if options.work is None else weighted + options.work[rows]
        self.through = weighted + both
        self.opening = self.through + numpy.where(opens, closing, 0.0)
        self.fore = weighted + forward
        self.closed = self.through + closing + queue
        self._edges()
        self.by_target, self.target_begins = self._grouped(self.target)
        self.fines = self._fines()
        self.fine = self.fines[0] + self.fines[1] * options.replicas[rows]
        self._before()
        self._behind()

    def _edges(self) -> None:
        """Candidates between nodes: (row of the window, from, to)."""
        options, rows = self.window.options, self.window.rows
        first, end = options.first[rows], options.end[rows]
        if self.states == 1:
            self.row, self.origin, self.target = numpy.arange(len(rows)), first, end
        else:
            # A state counts up to what is asked for; workers in steps, none of which is left half done.
            stages, workers = numpy.divmod(numpy.arange(self.states), self._workers + 1)
            gained = -(-options.replicas[rows] // options.unit)
            next_stages = numpy.minimum(stages + 1, self._stages)[None, :]
            next_workers = numpy.minimum(workers[None, :] + gained[:, None], self._workers)
            row, state = numpy.meshgrid(numpy.arange(len(rows)), numpy.arange(self.states), indexing="ij")
            self.row = row.ravel()
            self.origin = (first[:, None] * self.states + state).ravel()
            self.target = (end[:, None] * self.states + next_stages * (self._workers + 1) + next_workers).ravel()
        self.nodes = options.boundaries * self.states

    def _grouped(self, keys: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Edges by key, and where each key's begin."""
        order = numpy.argsort(keys, kind="stable")
        return order, numpy.searchsorted(keys[order], numpy.arange(self.nodes + 1))

    def _fines(self) -> Fines:
        """Near the middle weight; none where every path is within the limits."""
        window, options = self.window, self.window.options
        limits = options.problem.limits
        if not any(options.bounded):
            return 0.0, 0.0
        by_stage, by_worker = options.bounded
        most = (limits.max_stages if by_stage else None, limits.max_concurrency if by_worker else None)
        costs, replicas = self.opening[len(self.at) // 2], options.replicas[window.rows]
        return best_fines(self._shortest, costs, replicas, most, window.high_s, window.fines)

    def _shortest(self, costs: numpy.ndarray) -> numpy.ndarray:
        """Costs of the shortest paths, by those of the window's candidates; a row per try."""
        before = numpy.full((len(costs), self.nodes), numpy.inf)
        before[:, 0] = 0.0
        for node in range(self.states, self.nodes):
            edges = self.by_target[self.target_begins[node] : self.target_begins[node + 1]]
            if len(edges):
                before[:, node] = (before[:, self.origin[edges]] + costs[:, self.row[edges]]).min(axis=1)
        return before[:, -1]

    @property
    def fined(self) -> bool:
        """Whether the numbers of stages or workers bound the window's plans."""
        return self.fines != (0.0, 0.0)

    @property
    def fines_allowed(self) -> float:
        """The highest sum of fines of a plan within the limits."""
        limits = self.window.options.problem.limits
        return self.fines[0] * limits.max_stages + self.fines[1] * limits.max_concurrency

    def _before(self) -> None:
        shape = (len(self.at), self.nodes)
        self.path_before, self.fore_before, self.closed_before = (numpy.full(shape, numpy.inf) for _ in range(3))
        self.rate_before, self.work_before = numpy.full(self.nodes, numpy.inf), numpy.full(shape, numpy.inf)
        self.work_before[:, 0] = 0.0
        self.fined_before = self.work_before.copy()
        self.path_before[:, 0] = self.fore_before[:, 0] = self.rate_before[0] = 0.0
        self.closed_before[:, 0] = -numpy.inf
        for node in range(self.states, self.nodes):
            edges = self.by_target[self.target_begins[node] : self.target_begins[node + 1]]
            if not len(edges):
                continue
            row, origin = self.row[edges], self.origin[edges]
            fore = self.fore_before[:, origin]
            self.path_before[:, node] = (self.path_before[:, origin] + self.opening[:, row]).min(axis=1)
            self.fore_before[:, node] = (fore + self.fore[:, row]).min(axis=1)
            self.closed_before[:, node] = numpy.maximum(
                self.closed_before[:, origin] + self.through[:, row], fore + self.closed[:, row]
            ).min(axis=1)
            self.rate_before[node] = (self.rate_before[origin] + self.rate[row]).min()
            if self.fined:
                fined = self.opening[:, row] + self.fine[row]
                self.fined_before[:, node] = (self.fined_before[:, origin] + fined).min(axis=1)
            if self.work is not None:
                self.work_before[:, node] = (self.work_before[:, origin] + self.work[:, row]).min(axis=1)
        self.closed_before[:, 1:] = concave(self.closed_before[:, 1:], self.at)

    def _behind(self) -> None:
        shape = (len(self.at), self.nodes)
        self.path_behind, self.longest_behind = numpy.full(shape, numpy.inf), numpy.full(shape, numpy.inf)
        self.rate_behind, self.work_behind = numpy.full(self.nodes, numpy.inf), numpy.full(shape, numpy.inf)
        self.path_behind[:, -1] = self.work_behind[:, -1] = self.rate_behind[-1] = 0.0
        self.longest_behind[:, -1] = -numpy.inf
        self.fined_behind = self.path_behind.copy()
        order, begins = self._grouped(self.origin)
        for node in reversed(range(self.nodes - self.states)):
            edges = order[begins[node] : begins[node + 1]]
            if not len(edges):
                continue
            row, target = self.row[edges], self.target[edges]
            path = self.path_behind[:, target]
            self.path_behind[:, node] = (path + self.through[:, row]).min(axis=1)
            self.longest_behind[:, node] = numpy.maximum(
                self.longest_behind[:, target] + self.fore[:, row], path + self.closed[:, row]
            ).min(axis=1)
            self.rate_behind[node] = (self.rate_behind[target] + self.rate[row]).min()
            if self.fined:
                fined = self.through[:, row] + self.fine[row]
                self.fined_behind[:, node] = (self.fined_behind[:, target] + fined).min(axis=1)
            if self.work is not None:
                self.work_behind[:, node] = (self.work_behind[:, target] + self.work[:, row]).min(axis=1)
        self.longest_behind[:, :-1] = concave(self.longest_behind[:, :-1], self.at)

    @property
    def possible(self) -> bool:
        """Whether there is a path at all."""
        return bool(numpy.isfinite(self.rate_behind[0]))

    def objectives(self, time_weight: float) -> numpy.ndarray:
        """Lower bounds of the objective of the window's plans that use each of its candidates."""
        window, options, rows = self.window, self.window.options, self.window.rows
        queue, backward_queue = window.queue
        origin, target, row = self.origin, self.target, self.row
        least = self.rate_before[origin] + self.rate[row] + self.rate_behind[target]
        usable = numpy.flatnonzero(numpy.isfinite(least))
        origin, target, row, least = origin[usable], target[usable], row[usable], least[usable]
        behind, fore = self.path_behind[:, target], self.fore_before[:, origin]
        found = numpy.zeros(len(usable))

        def at_least(sums: numpy.ndarray) -> None:
            known = numpy.isfinite(sums[0])
            bound = least_product(sums[:, known], self.at, least[known], time_weight, window.low_s, window.high_s)
            found[known] = numpy.maximum(found[known], bound)

        at_least(self.path_before[:, origin] + self.opening[:, row] + behind + (queue + backward_queue))
        at_least(fore + self.fore[:, row] + self.longest_behind[:, target] + queue)
        at_least(self.closed_before[:, origin] + self.through[:, row] + behind + queue)
        at_least(fore + self.closed[:, row] + behind + queue)
        if self.fined:
            fined = self.opening[:, row] + self.fine[row] + self.fined_behind[:, target]
            at_least(self.fined_before[:, origin] + fined + (queue + backward_queue - self.fines_allowed))
        if self.work is not None:
            at_least(self.work_before[:, origin] + self.work[:, row] + self.work_behind[:, target])
        if options.alternating is not None:
            # Row 0 has no weight: seconds alone.
            each, number = options.alternating, rows[row]
            waits = each.turns[number] * (each.inner[number] + self.path_behind[0, target])
            waits = waits + each.outer[number] + fore[0]
            found = numpy.maximum(found, (least + time_weight) * waits)
            found[waits > window.high_s] = numpy.inf
        bounds = numpy.full(len(rows), numpy.inf)
        numpy.minimum.at(bounds, row, found)
        return bounds

    def paths(self, weights: range) -> list[list[int]]:
        """Shortest paths by these weights, as numbers of candidates."""
        return [self._path(weight) for weight in weights]

    def _path(self, weight: int) -> list[int]:
        node, path = self.nodes - 1, []
        while node:
            edges = self.by_target[self.target_begins[node] : self.target_begins[node + 1]]
            row, origin = self.row[edges], self.origin[edges]
            best = int(numpy.argmin(self.path_before[weight, origin] + self.opening[weight, row]))
            path.append(int(self.window.rows[row[best]]))
            node = int(origin[best])
        return path[::-1]

    def wanting(self, sums: numpy.ndarray) -> numpy.ndarray:
        """``sums`` before nodes, each the least of its own and of nodes where more is reached."""
        shape = (*sums.shape[:-1], -1, self._stages + 1, self._workers + 1)
        grid = sums.reshape(shape)
        for axis in (-1, -2):
            grid = numpy.flip(numpy.minimum.accumulate(numpy.flip(grid, axis), axis=axis), axis)
        return grid.reshape(sums.shape)
