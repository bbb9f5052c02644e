"""Candidate stages as columns of numbers: what the search sees of them."""

from dataclasses import dataclass

import numpy

from planner.candidates import Candidates, Column
from planner.problem import Problem
from runtime.schedule import ScheduleName

LEVELS = 8
"""Of the least number of workers that a job asks for: so many steps towards it are told apart."""


@dataclass(frozen=True)
class Alternating:
    """What else counts where a worker takes forward and backward passes in turn, and keeps only some micro-batches."""

    kept: Column
    """So many it has memory for."""
    turns: Column
    """Rounds of waiting at least, as many being kept."""
    inner: Column
    """Seconds of a micro-batch from the beginning of its forward to the end of its backward pass, without those of the
    stages behind."""
    outer: Column
    """First download and last upload."""
    tail: Column
    """One more backward pass."""


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
    alternating: "Alternating | None"
    """Where forward and backward alternate."""
    micro_batches: Column
    own: Column
    """Whether no other problem has a stage that is as good (``covers``). A plan without such is not wanted."""

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
    def bounded(self) -> tuple[bool, bool]:
        """Whether some path of candidates has more stages, and more workers, than the job allows."""
        limits = self.problem.limits
        stages = min(limits.max_stages, self.boundaries - 1)
        return (
            limits.max_stages < self.boundaries - 1,
            limits.max_concurrency < int(self.replicas.max(initial=0)) * stages,
        )

    def waiting(
        self, row: Column, away: Column, path: Column, last: Column
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """``runtime.schedule.kept_at_once`` and ``CostModel.waiting_s`` of candidates before the rest of a plan.

        Args:
            away: micro-batches that are with the stages behind, and on their way there.
            path: seconds of a micro-batch with these.
            last: whether there is none.

        Returns:
            Micro-batches that a worker must keep; seconds that it needs by that alone; ``away`` for the stage before.
        """
        assert self.alternating is not None
        each, replicas, every = self.alternating, self.replicas[row], self.micro_batches[row]
        eager = self.problem.schedule is ScheduleName.EAGER_ONE_F_ONE_B
        own = replicas if eager else 0
        kept = numpy.where(last, 1, 1 + numpy.ceil((away + own) / replicas))
        held = numpy.minimum(kept, every)
        turns = numpy.ceil(every / held)
        others = every - (turns - 1) * held - 1
        waits = turns * (each.inner[row] + path) + others * each.tail[row] + each.outer[row]
        return held, waits + self.closing[row], kept * replicas + own

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
        alternating=None if problem.schedule is ScheduleName.GPIPE else _alternating(stages),
        micro_batches=stages.micro_batches,
        own=numpy.ones(len(stages), dtype=bool),
    )


def _alternating(stages: Candidates) -> Alternating:
    return Alternating(
        kept=stages.kept,
        turns=-(-stages.micro_batches // stages.kept),
        inner=stages.inner_s,
        outer=stages.outer_s,
        tail=stages.backward_compute_s,
    )
