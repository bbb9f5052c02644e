"""The optimum under GPipe by dynamic programming from the first layer on: an oracle for models too deep to enumerate.

A beginning of a plan is seen as (objective per second, objective of requests, F, Q, X, Y): F and Q are its forward
paths' sum and longest forward queue; with b_i.. the backward paths' sum from its stage i to its last, q_i the longest
backward queue of these and c_i the closing of i, X = max over i of b_i.. + q_i + c_i and Y = max over i of b_i.. + c_i.
A beginning that has no less of anything than another is put aside.
"""

from collections.abc import Callable

import numpy

from planner.problem import Problem
from planner.stage_costs import StageCosts


def _pareto(rows: numpy.ndarray) -> numpy.ndarray:
    rows = rows[numpy.lexsort(rows.T[::-1])]
    kept = rows[:0]
    while len(rows):
        head, rows = rows[:64], rows[64:]
        for row in head:
            if not len(kept) or not (kept <= row).all(axis=1).any():
                kept = numpy.vstack([kept, row])
        if len(rows):
            for row in kept[-64:]:
                rows = rows[~(rows >= row).all(axis=1)]
    return kept


def _rest(problem: Problem, weight: Callable[[StageCosts], float]) -> dict[int, float]:
    """By boundary, the least total weight of the stages behind it."""
    least = dict.fromkeys(problem.boundaries, numpy.inf) | {problem.boundaries[-1]: 0.0}
    for c in sorted(problem.candidates, key=lambda c: -c.first):
        least[c.first] = min(least[c.first], weight(c) + least[c.end])
    return least


def least_objective(problem: Problem, limit: float) -> float:
    """Of all paths of the problem's candidates; infinite when each is above ``limit``.

    Numbers of stages and workers are not looked at.
    """
    usd, seconds = problem.objective.usd_weight, problem.objective.time_weight
    per_gb = usd * problem.model.usd_per_gb_s
    rate_behind = _rest(problem, lambda c: per_gb * c.total_gb)
    path_behind = _rest(problem, lambda c: c.forward.path_s + c.backward.path_s)
    at: dict[int, list[numpy.ndarray]] = {boundary: [] for boundary in problem.boundaries}
    at[0].append(numpy.array([[0.0, 0.0, 0.0, 0.0, -numpy.inf, -numpy.inf]]))
    for boundary in problem.boundaries:
        if not at[boundary]:
            continue
        begun = numpy.vstack(at[boundary])
        rate, requests, f, longest, x, _ = begun.T
        time = f + longest + numpy.maximum(x, 0.0) + path_behind[boundary]
        objective = (rate + rate_behind[boundary] + seconds) * time + requests
        if boundary == problem.boundaries[-1]:
            return float(objective.min())
        begun = _pareto(begun[objective <= limit])
        rate, requests, f, longest, x, y = begun.T
        for c in problem.candidates if len(begun) else ():
            if c.first == boundary:
                b, q = c.backward.path_s, c.backward_queue_s
                own = b + c.closing_s
                new = (
                    rate + per_gb * c.total_gb,
                    requests + usd * c.request_usd,
                    f + c.forward.path_s,
                    numpy.maximum(longest, c.forward_queue_s),
                    numpy.maximum(numpy.maximum(x, y + q) + b, own + q),
                    numpy.maximum(y + b, own),
                )
                at[c.end].append(numpy.column_stack(new))
    return numpy.inf
