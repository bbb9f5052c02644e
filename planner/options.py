"""Candidate stages as columns of numbers: what the search sees of them."""

from dataclasses import dataclass

import numpy

from planner.problem import Problem
from runtime.schedule import ScheduleName

Column = numpy.ndarray
LEVELS = 8
"""Of the least number of workers that a job asks for: so many steps towards it are told apart."""


@dataclass(frozen=True)
class Options:
    """The candidates of one problem, a row each; seconds, and the objective's own unit.

    Times are of the stage's parts as ``StageCosts`` names them.
    """

    problem: Problem
    rate: Column
    """Objective per second of iteration time."""
    requests: Column
    """Objective whatever the time."""
    forward: Column
    backward: Column
    forward_queue: Column
    backward_queue: Column
    closing: Column
    work: Column | None
    """Seconds of all cores, where workers share them."""
    replicas: Column
    first: Column
    """Number of the boundary at which it begins."""
    end: Column
    turns: Column | None
    """Where forward and backward alternate: rounds of waiting at least, as many micro-batches as fit being kept."""
    kept: Column | None
    inner: Column | None
    """Likewise: seconds of a micro-batch from the beginning of its forward to the end of its backward pass, without
    those of the stages behind."""
    outer: Column | None
    """Likewise: first download and last upload."""
    tail: Column | None
    """Likewise: seconds of one more backward pass."""
    micro_batches: Column

    @property
    def boundaries(self) -> int:
        return len(self.problem.boundaries)

    @property
    def steps(self) -> tuple[int, int]:
        """States of the numbers of stages and of workers that are told apart, less one: 0 where none is asked for."""
        limits = self.problem.limits
        stages = limits.min_stages if limits.min_stages > 1 else 0
        workers = -(-limits.min_workers // self.unit) if limits.min_workers > max(1, limits.min_stages) else 0
        return stages, workers

    @property
    def unit(self) -> int:
        """Workers of one step."""
        return -(-self.problem.limits.min_workers // LEVELS)


def options_of(problem: Problem) -> Options:
    """The columns of a problem's candidates, in their order."""
    at = {boundary: number for number, boundary in enumerate(problem.boundaries)}
    stages, model, weight = problem.candidates, problem.model, problem.objective.usd_weight
    rows = numpy.array(
        [
            (
                stage.total_gb,
                stage.request_usd,
                stage.forward.path_s,
                stage.backward.path_s,
                stage.forward_queue_s,
                stage.backward_queue_s,
                stage.closing_s,
                stage.work_s,
            )
            for stage in stages
        ],
        dtype=float,
    ).reshape(len(stages), 8)
    counts = numpy.array(
        [(at[stage.first], at[stage.end], stage.replicas, stage.micro_batches) for stage in stages], dtype=int
    ).reshape(len(stages), 4)
    cores = model.profile.host_cores if model.platform.shared_cores else None
    kept = inner = outer = tail = turns = None
    if problem.schedule is not ScheduleName.GPIPE:
        kept = numpy.array(problem.kept, dtype=int)
        inner, outer = (
            numpy.array([getattr(stage, name) for stage in stages], dtype=float) for name in ("inner_s", "outer_s")
        )
        tail = numpy.array([stage.backward.compute_s for stage in stages], dtype=float)
        turns = -(-counts[:, 3] // numpy.maximum(1, numpy.minimum(kept, counts[:, 3])))
    return Options(
        problem=problem,
        rate=weight * model.usd_per_gb_s * rows[:, 0],
        requests=weight * rows[:, 1],
        forward=rows[:, 2],
        backward=rows[:, 3],
        forward_queue=rows[:, 4],
        backward_queue=rows[:, 5],
        closing=rows[:, 6],
        work=rows[:, 7] / cores if cores else None,
        replicas=counts[:, 2],
        first=counts[:, 0],
        end=counts[:, 1],
        turns=turns,
        kept=kept,
        inner=inner,
        outer=outer,
        tail=tail,
        micro_batches=counts[:, 3],
    )
