"""The schedule of a plan: of those that its stages fit under, the one that the simulation says is best.

Plans are searched for under every schedule that the job allows, by the closed form, which bounds what a worker waits
for but does not see all of it. Where the stages that were found fit under other schedules as well, these are simulated,
too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.forecast import Forecast
from planner.problem import Problem
from planner.solver import Solution
from runtime.manifest import DatasetFacts

BETTER = 1e-3
"""Part of the objective by which a schedule must better the one before it to be taken: below, GPipe is simpler."""


@dataclass(frozen=True)
class Choice:
    """A plan with its schedule."""

    solution: Solution
    forecast: Forecast

    @property
    def objective(self) -> float:
        """Of the simulated plan."""
        objective, forecast = self.solution.problem.objective, self.forecast
        return objective.usd_weight * forecast.usd_per_iteration + objective.time_weight * forecast.iteration_s


def _under(problem: Problem, found: Solution) -> Solution:
    """The same stages under the problem's schedule. The gap is to the best plan under any."""
    iteration_s = problem.iteration_s(found.stages)
    value, usd = problem.value(found.stages, iteration_s), problem.model.usd(found.stages, iteration_s)
    bound = (1 - found.gap) * found.objective
    gap = max(0.0, 1 - bound / value) if value > 0 else 0.0
    return Solution(problem, found.stages, iteration_s, usd, value, gap)


def choose_schedule(problems: Sequence[Problem], found: Solution, dataset: DatasetFacts) -> Choice:
    """The best schedule for the stages of ``found``, which is a plan of one of ``problems``."""
    best: Choice | None = None
    model = found.problem.model
    for problem in problems:
        if problem.model is model and problem.admits(found.stages):
            forecast = Forecast(model, found.stages, dataset, problem.schedule, model.architecture)
            choice = Choice(_under(problem, found), forecast)
            if best is None or choice.objective < best.objective * (1 - BETTER):
                best = choice
    assert best is not None, "its own problem admits a plan"
    return best
