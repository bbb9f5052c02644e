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
    stages, model, weight = problem.candidates, problem.model, problem.objective.usd_weight
    at = numpy.zeros(problem.boundaries[-1] + 1, dtype=int)
    at[list(problem.boundaries)] = numpy.arange(len(problem.boundaries))
    cores = model.profile.host_cores if model.platform.shared_cores else None
    alternates = problem.schedule is not ScheduleName.GPIPE
    return Options(
        problem=problem,
        rate=weight * model.usd_per_gb_s * stages.total_gb,
        requests=weight * stages.request_usd,
        forward=stages.forward_path_s,
        backward=stages.backward_path_s,
        forward_queue=stages.forward_queue_s,
        backward_queue=stages.backward_queue_s,
        closing=stages.closing_s,
        work=stages.work_s / cores if cores else None,
        replicas=stages.replicas,
        first=at[stages.first],
        end=at[stages.end],
        turns=-(-stages.micro_batches // stages.kept) if alternates else None,
        kept=stages.kept if alternates else None,
        inner=stages.inner_s if alternates else None,
        outer=stages.outer_s if alternates else None,
        tail=stages.backward_compute_s if alternates else None,
        micro_batches=stages.micro_batches,
    )
