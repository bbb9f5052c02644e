from planner.cost_model import CostModel
from planner.forecast import Forecast
from planner.job import Limits, Objective
from planner.platforms import PLATFORMS
from planner.schedule_choice import choose_schedule
from planner.solver import solve
from planner.variants import problems
from runtime.manifest import Architecture
from runtime.schedule import ScheduleName
from tests.planner.profiles import make_layer, make_profile, make_training

SIZES = [1024, 1769, 3538, 7076, 10_240]


def choice(limits, *, activation_mib, output_mib):
    """For four equal layers on one vCPU or more, which take 0.1 s forward and 0.2 s backward."""
    section = make_training(global_batch_size=256)  # 32 micro-batches
    model = CostModel(
        profile=make_profile([make_layer(activation_mib=activation_mib, output_mib=output_mib) for _ in range(4)]),
        platform=PLATFORMS["aws-lambda"],
        training=section,
        architecture=Architecture.X86_64,
    )
    space = problems([model], Objective(), limits)
    return choose_schedule(space, solve(space), model.profile.dataset)


def limits(**changes):
    return Limits(**{"min_stages": 4, "max_replicas": 1, "memory_mb": SIZES, **changes})


def test_where_gpipe_fits_as_well_it_stays():
    made = choice(limits(), activation_mib=0.1, output_mib=0.1)
    assert made.forecast.schedule is ScheduleName.GPIPE
    assert made.solution.gap == 0


def test_fewer_kept_micro_batches_allow_smaller_functions():
    made = choice(limits(recompute=False), activation_mib=80, output_mib=0.1)
    assert made.forecast.schedule is not ScheduleName.GPIPE
    sizes = [costs.memory_mb for costs in made.solution.stages]
    assert sizes == sorted(sizes, reverse=True), "the first stage keeps most"
    gpipe = choice(limits(recompute=False, schedule="gpipe"), activation_mib=80, output_mib=0.1)
    assert made.objective < gpipe.objective
    for index, costs in enumerate(made.solution.stages):
        assert made.forecast.memory(index).needed_mb <= costs.memory_mb


def test_cuts_that_fit_only_where_forward_and_backward_alternate_are_found():
    sizes = [3538]
    made = choice(limits(recompute=False, memory_mb=sizes, min_stages=1), activation_mib=250, output_mib=0.1)
    assert made.forecast.schedule is not ScheduleName.GPIPE
    assert made.forecast.model.memory(0, 1, 1).needed_mb > sizes[0], "under GPipe not even a stage of one layer fits"


def test_the_closed_form_counts_the_wait_for_micro_batches_that_are_away():
    made = choice(limits(schedule="gpipe"), activation_mib=1, output_mib=3)
    model, stages = made.forecast.model, made.solution.stages
    for schedule, waits in (
        (ScheduleName.GPIPE, False),
        (ScheduleName.ONE_F_ONE_B, True),
        (ScheduleName.EAGER_ONE_F_ONE_B, False),
    ):
        simulated = Forecast(model, stages, made.forecast.dataset, schedule, Architecture.X86_64).iteration_s
        closed = model.iteration_s(stages, schedule)
        assert (closed > 1.2 * model.iteration_s(stages)) == waits
        assert abs(closed / simulated - 1) < 0.12
