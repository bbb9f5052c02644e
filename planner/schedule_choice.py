"""The schedule of a plan: cuts and replicas are found under GPipe, then each schedule is tried on them.

A schedule that keeps fewer micro-batches may do with smaller memory sizes, or without recomputation: those are chosen
again for it, exactly, with cuts and replicas as they are. What a schedule costs in time the closed form does not see,
so schedules are compared by the simulation. A plan whose cuts or replicas fit only under another schedule than GPipe is
not found.
"""

from dataclasses import dataclass

from planner.forecast import Forecast, kept_micro_batches
from planner.milp import TIME_LIMIT_S, Solution, solve
from planner.problem import Problem, stage_options
from runtime.manifest import Architecture, DatasetFacts
from runtime.schedule import ScheduleName

BETTER = 1e-3
"""Part of the objective by which a schedule must better the one before it to be taken: below, GPipe is simpler."""


@dataclass(frozen=True)
class Choice:
    """A plan with its schedule."""

    solution: Solution
    forecast: Forecast
    problem: Problem

    @property
    def objective(self) -> float:
        """Of the simulated plan."""
        objective, forecast = self.problem.objective, self.forecast
        return objective.usd_weight * forecast.usd_per_iteration + objective.time_weight * forecast.iteration_s


def _refitted(problem: Problem, found: Solution, schedule: ScheduleName, time_limit_s: float) -> Solution:
    """The plan's cuts and replicas with the best memory sizes, recomputation and summation under ``schedule``."""
    model, stages = problem.model, found.stages
    candidates = [
        option
        for index, costs in enumerate(stages)
        for option in stage_options(
            model,
            problem.limits,
            costs.first,
            costs.end,
            costs.replicas,
            kept_micro_batches(schedule, stages, index, model.micro_batches),
        )
    ]
    boundaries = (0, *(costs.end for costs in stages))
    again = Problem(model, problem.objective, problem.limits, boundaries, tuple(candidates))
    solution = solve(again, time_limit_s=time_limit_s)
    assert solution is not None, "what fits under GPipe fits under every schedule"
    return solution


def choose_schedule(
    problem: Problem,
    found: Solution,
    dataset: DatasetFacts,
    architecture: Architecture,
    time_limit_s: float = TIME_LIMIT_S,
) -> Choice:
    """The best of the schedules that the job allows, for the cuts and replicas of ``found``, planned under GPipe."""
    best: Choice | None = None
    for schedule in problem.limits.schedules:
        solution = found if schedule is ScheduleName.GPIPE else _refitted(problem, found, schedule, time_limit_s)
        forecast = Forecast(problem.model, solution.stages, dataset, schedule, architecture)
        choice = Choice(solution, forecast, problem)
        if best is None or choice.objective < best.objective * (1 - BETTER):
            best = choice
    assert best is not None, "a job allows at least one schedule"
    return best
