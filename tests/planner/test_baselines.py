import pytest

from planner.baselines import (
    Impossible,
    Planned,
    find_baselines,
    planned,
    published_runs,
    serverless_pays,
)
from planner.choice import Asked, choose
from planner.job import Objective
from planner.platforms import PLATFORMS
from planner.pricing import VIRTUAL_MACHINES
from tests.planner.profiles import make_layer, make_profile
from tests.planner.test_choice import make_job

LAMBDA = PLATFORMS["aws-lambda"]
SMALL = make_profile([make_layer(parameter_mib=20) for _ in range(5)])


def by_name(job, profile):
    return {way.name: way for way in find_baselines(job, profile, LAMBDA)}


def test_all_baselines_are_planned_and_none_beats_the_planner():
    job = make_job(max_replicas=4)
    found = by_name(job, SMALL)
    assert list(found)[:5] == ["lambdaml", "lambdaml-accumulation", "hybrid-ps", "tpdmp", "funcpipe"]
    assert len(found) == 5 + len(VIRTUAL_MACHINES)
    ours = planned("ours", choose(job, SMALL, LAMBDA, Asked()).run)

    def value(way):
        return job.objective.usd_weight * way.usd + job.objective.time_weight * way.total_s

    for name in ("lambdaml", "tpdmp", "funcpipe"):
        assert isinstance(found[name], Planned)
        assert value(ours) <= value(found[name]) * 1.02, "the closed form ranks, the simulation may differ a little"


def test_lambdaml_is_one_stage_and_its_time_is_computing_and_plain_scatter_reduce():
    job = make_job(max_replicas=4).model_copy(update={"objective": Objective(usd_weight=0, time_weight=1)})
    way = by_name(job, SMALL)["lambdaml"]
    assert (way.what, way.workers) == ("5 layers 1769 MB x 4", 4), "measured with one thread: more vCPUs do not help"
    computing_s = 2 * (5 * (0.1 + 0.2) + 0.001) + 5 * 0.001  # 8 micro-batches over 4 replicas; loss; step; one thread
    gradient_mib, mib_s = 5 * 20, 75
    plain_s = 3 * gradient_mib / mib_s - 2 * gradient_mib / (4 * mib_s) + 4 * (0.027 + 0.040) / 2
    assert way.iteration_s == pytest.approx(computing_s + plain_s, rel=0.02)


def test_accumulation_fits_where_a_whole_local_batch_does_not():
    profile = make_profile([make_layer(activation_mib=120) for _ in range(5)])
    found = by_name(make_job(max_replicas=1), profile)
    assert isinstance(found["lambdaml"], Impossible) and "local batch" in found["lambdaml"].why
    assert isinstance(found["lambdaml-accumulation"], Planned)


def server_of(way):
    return next(machine for machine in VIRTUAL_MACHINES if way.what.endswith(f"server {machine.name}"))


def test_the_parameter_server_is_billed_for_the_whole_run():
    found = by_name(make_job(max_replicas=4), SMALL)
    way = found["hybrid-ps"]
    per_s = server_of(way).usd_per_hour / 3600
    assert way.total_s * per_s < way.usd < way.total_s * per_s + 2 * found["lambdaml-accumulation"].usd
    assert way.iteration_s * per_s < way.iteration_usd < way.usd


def test_the_parameter_server_is_the_machine_that_suits_the_objective():
    job = make_job(max_replicas=4)
    thrifty = job.model_copy(update={"objective": Objective(usd_weight=1, time_weight=0)})
    hurried = job.model_copy(update={"objective": Objective(usd_weight=0, time_weight=1)})
    assert server_of(by_name(thrifty, SMALL)["hybrid-ps"]) is VIRTUAL_MACHINES[0]
    way = by_name(hurried, SMALL)["hybrid-ps"]
    assert server_of(way).bytes_per_s >= way.workers * LAMBDA.bandwidth(1769), "else it would slow the workers' links"


def test_a_lone_worker_also_exchanges_with_its_parameter_server():
    job = make_job(max_replicas=1)
    found = by_name(job, SMALL)
    exchanged_s = 2 * (5 * 20 / 75 + (0.027 + 0.040) / 2)
    more_s = found["hybrid-ps"].iteration_s - found["lambdaml-accumulation"].iteration_s
    assert more_s == pytest.approx(exchanged_s, rel=1e-6), "the smallest machine's network carries one worker's link"


def test_published_plans_follow_the_objective_they_are_asked_for():
    job = make_job(max_replicas=4)
    cheapest, fastest = published_runs(
        job, SMALL, LAMBDA, [Objective(usd_weight=1, time_weight=0), Objective(usd_weight=0, time_weight=1)]
    )
    assert cheapest.usd < fastest.usd and cheapest.total_s > fastest.total_s


def test_published_funcpipe_has_one_degree():
    layers = [make_layer(forward_s=s, backward_s=2 * s) for s in (0.05, 0.4, 0.05, 0.05)]
    way = by_name(make_job(max_replicas=4), make_profile(layers))["funcpipe"]
    degrees = {stage.split(" x ")[1] for stage in way.what.split(" | ")}
    assert len(degrees) == 1


def test_tpdmp_has_one_memory_size():
    way = by_name(make_job(max_replicas=4), SMALL)["tpdmp"]
    assert len({stage.split(" ")[2] for stage in way.what.split(" | ")}) == 1


def test_a_model_that_no_function_holds_leaves_the_machines():
    huge = make_profile([make_layer(parameter_mib=4000)])
    found = by_name(make_job(), huge)
    assert all(isinstance(found[name], Impossible) for name in list(found)[:5])
    assert isinstance(found["vm-c5.12xlarge"], Planned)


def test_it_is_said_when_serverless_does_not_pay():
    ours = Planned("this plan", "", 4, 1.0, 0.01, 100.0, 1.0)
    cheap = Planned("vm-c5.2xlarge", "", 1, 0.5, 0.005, 90.0, 0.5)
    dear = Planned("vm-c5.12xlarge", "", 1, 0.5, 0.02, 50.0, 2.0)
    assert "c5.2xlarge is predicted to take 90 s and 0.5 USD" in serverless_pays(ours, [dear, cheap])
    assert serverless_pays(ours, [dear]) is None
