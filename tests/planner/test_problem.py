import pytest

from planner.cost_model import CostModel
from planner.job import Limits, Objective
from planner.platforms import PLATFORMS
from planner.problem import build_problem, merge_layers, replica_choices
from runtime.errors import UserInputError
from runtime.manifest import Architecture
from runtime.synchronisation import Algorithm
from tests.planner.profiles import make_layer, make_profile, make_training


def problem(layers, limits=None, **training):
    section = make_training(**training)
    model = CostModel(
        profile=make_profile(layers, section),
        platform=PLATFORMS["aws-lambda"],
        training=section,
        architecture=Architecture.X86_64,
    )
    return build_problem(model, Objective(), limits or Limits())


@pytest.mark.parametrize(
    ("most", "micro_batches", "expected"),
    [(4, 8, [1, 2, 3, 4]), (4, 2, [1, 2]), (1, 8, [1]), (16, 64, [1, 2, 3, 4, 8, 16]), (12, 64, [1, 2, 3, 4, 8, 12])],
)
def test_replica_choices(most, micro_batches, expected):
    assert replica_choices(Limits(max_replicas=most), micro_batches) == expected


def test_what_does_not_fit_is_never_a_candidate():
    made = problem([make_layer(parameter_mib=300) for _ in range(4)], Limits(memory_mb=[1024, 2048]))
    assert made.candidates
    for costs in made.candidates:
        assert made.model.memory(costs.first, costs.end, costs.replicas, costs.algorithm).needed_mb <= costs.memory_mb
    assert not any((costs.first, costs.end) == (0, 4) for costs in made.candidates)


def algorithms(parameter_mib, limits=None):
    made = problem([make_layer(parameter_mib=parameter_mib)], limits)
    return {costs.algorithm for costs in made.candidates if costs.replicas == 4}


def test_each_size_of_gradient_has_its_way_to_be_summed():
    assert algorithms(0.01) == {Algorithm.ALL_TO_ALL}, "better in every respect: none of the others is a candidate"
    assert Algorithm.PIECE_PIPELINED in algorithms(300)
    assert Algorithm.PLAIN not in algorithms(300)


def test_the_job_may_insist_on_a_way_to_sum():
    assert algorithms(0.01, Limits(synchronisation=[Algorithm.PLAIN])) == {Algorithm.PLAIN}


def test_what_keeps_too_much_may_be_computed_again():
    layers = [make_layer(), make_layer(activation_mib=400)]
    made = problem(layers, Limits(memory_mb=[1024], max_replicas=2))
    assert {costs.recompute for costs in made.candidates if costs.end == 2} == {True}
    assert {costs.recompute for costs in made.candidates if costs.end == 1} == {False}, "it takes time, so only there"


def test_memory_that_buys_nothing_is_no_candidate():
    section = make_training()
    model = CostModel(
        profile=make_profile([make_layer()]),
        platform=PLATFORMS["embedded"],
        training=section,
        architecture=Architecture.X86_64,
    )
    made = build_problem(model, Objective(), Limits(memory_mb=[1024, 2048, 4096], max_replicas=1))
    assert [costs.memory_mb for costs in made.candidates] == [1024]


def test_a_layer_too_large_is_named_with_the_shortfall_and_remedies():
    layers = [make_layer(), make_layer(module="Embedding", activation_mib=400)]
    with pytest.raises(UserInputError) as caught:
        problem(layers, Limits(memory_mb=[1024], max_replicas=2, recompute=False))
    message = str(caught.value)
    remedies = ("micro_batch_size", "recompute", "max_replicas", "memory_mb")
    for part in ("layer 1 (Embedding)", "1,024 MB", "too much", *remedies):
        assert part in message


def test_too_few_layers_for_min_stages():
    with pytest.raises(UserInputError, match="only 2 layers"):
        problem([make_layer(), make_layer()], Limits(min_stages=3))


def test_cheap_neighbours_merge_first():
    layers = [make_layer(forward_s=s, backward_s=s, parameter_mib=10 * s) for s in (1.0, 0.01, 0.01, 1.0, 1.0)]
    profile = make_profile(layers)
    assert merge_layers(profile, 4, lambda first, end: True) == (0, 1, 3, 4, 5)
    assert merge_layers(profile, 5, lambda first, end: True) == (0, 1, 2, 3, 4, 5)
    assert merge_layers(profile, 1, lambda first, end: end - first <= 2)[-1] == 5


def test_many_layers_are_planned_at_fewer_boundaries():
    made = problem([make_layer() for _ in range(60)])
    assert len(made.boundaries) - 1 == 16
    assert made.boundaries[0] == 0
    assert made.boundaries[-1] == 60
