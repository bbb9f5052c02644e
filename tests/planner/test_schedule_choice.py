from planner.cost_model import CostModel
from planner.forecast import Forecast
from planner.job import Limits, Objective
from planner.milp import solve
from planner.platforms import PLATFORMS
from planner.problem import build_problem
from planner.schedule_choice import choose_schedule
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from tests.planner.profiles import make_layer, make_profile, make_training

SIZES = [1024, 1769, 3538, 7076, 10_240]


def choice(limits, *, activation_mib, output_mib, objective=None):
    """For four equal layers on one vCPU or more, which take 0.1 s forward and 0.2 s backward."""
    section = make_training(global_batch_size=256)  # 32 micro-batches
    model = CostModel(
        profile=make_profile([make_layer(activation_mib=activation_mib, output_mib=output_mib) for _ in range(4)]),
        platform=PLATFORMS["aws-lambda"],
        training=section,
        architecture=Architecture.X86_64,
    )
    problem = build_problem(model, objective or Objective(), limits)
    solution = solve(problem)
    return solution, choose_schedule(problem, solution, model.profile.dataset, Architecture.X86_64)


def limits(**changes):
    return Limits(**{"min_stages": 4, "max_replicas": 1, "memory_mb": SIZES, **changes})


def test_where_gpipe_fits_as_well_it_stays():
    _, made = choice(limits(), activation_mib=0.1, output_mib=0.1)
    assert made.forecast.schedule is ScheduleName.GPIPE


def test_fewer_kept_micro_batches_allow_smaller_functions():
    found, made = choice(limits(recompute=False), activation_mib=80, output_mib=0.1)
    assert made.forecast.schedule is not ScheduleName.GPIPE
    sizes = [costs.memory_mb for costs in made.solution.stages]
    assert sizes == sorted(sizes, reverse=True), "the first stage keeps most"
    assert sum(sizes) < sum(costs.memory_mb for costs in found.stages)
    for index, costs in enumerate(made.solution.stages):
        assert made.forecast.memory(index).needed_mb <= costs.memory_mb
    assert [(c.first, c.end, c.replicas) for c in made.solution.stages] == [
        (c.first, c.end, c.replicas) for c in found.stages
    ]


def test_it_is_the_best_of_the_three_by_simulation():
    allowed = {schedule: limits(schedule=schedule.value, recompute=False) for schedule in ScheduleName}
    alone = {schedule: choice(only, activation_mib=80, output_mib=2)[1] for schedule, only in allowed.items()}
    assert all(made.forecast.schedule is schedule for schedule, made in alone.items())
    _, best = choice(limits(recompute=False), activation_mib=80, output_mib=2)
    assert best.objective == min(made.objective for made in alone.values())


def test_one_forward_one_backward_waits_for_transfers_and_eager_does_not():
    found, _ = choice(limits(schedule="gpipe"), activation_mib=1, output_mib=3)
    seconds = {
        schedule: Forecast(
            made.forecast.model, found.stages, made.forecast.dataset, schedule, Architecture.X86_64
        ).iteration_s
        for schedule in ScheduleName
        for made in [choice(limits(schedule="gpipe"), activation_mib=1, output_mib=3)[1]]
    }
    assert seconds[ScheduleName.ONE_F_ONE_B] > 1.2 * seconds[ScheduleName.GPIPE]
    assert seconds[ScheduleName.EAGER_ONE_F_ONE_B] < 1.05 * seconds[ScheduleName.GPIPE]
