from dataclasses import replace

import pytest

from planner.cost_model import CostModel
from planner.platforms import PLATFORMS, find_platform
from planner.price_list import price_list
from planner.pricing import Bill, bill, gb_seconds, lambda_compute, s3_puts
from runtime.errors import UserInputError
from runtime.manifest import Architecture
from runtime.spec import EXACT_WIRE, WireSpec, WireType
from runtime.synchronisation import Algorithm
from tests.planner.profiles import MIB, make_layer, make_profile, make_training


def model(layers, platform="aws-lambda", profile_changes=None, wire=EXACT_WIRE, **training) -> CostModel:
    section = make_training(**training)
    return CostModel(
        profile=make_profile(layers, section, **(profile_changes or {})),
        platform=PLATFORMS[platform],
        training=section,
        architecture=Architecture.X86_64,
        wire=wire,
    )


def test_half_a_vcpu_takes_twice_as_long():
    costs = model([make_layer(forward_s=0.1)])
    assert costs.stage(0, 1, 1769, 1).forward.compute_s == pytest.approx(0.1)
    assert costs.stage(0, 1, 885, 1).forward.compute_s == pytest.approx(0.2, rel=1e-2)


def test_more_vcpus_help_as_far_as_more_threads_did():
    perfect = make_layer().model_copy(update={"forward_s": [0.2, 0.1], "backward_s": [0.2, 0.1]})
    none = make_layer().model_copy(update={"forward_s": [0.2, 0.2], "backward_s": [0.2, 0.3]})
    two = {"threads": [1, 2], "loss_profile": {"seconds": [0.0, 0.0], "activation_bytes": 0}}
    assert model([perfect], profile_changes=two).stage(0, 1, 3538, 1).forward.compute_s == pytest.approx(0.1)
    assert model([perfect], profile_changes=two).stage(0, 1, 7076, 1).forward.compute_s == pytest.approx(0.05)
    assert model([none], profile_changes=two).stage(0, 1, 7076, 1).forward.compute_s == pytest.approx(0.2)


def test_closed_form_of_two_stages_by_hand():
    costs = model([make_layer(forward_s=1.0, backward_s=2.0), make_layer(forward_s=3.0, backward_s=4.0)])
    a, b = costs.stage(0, 1, 1769, 1), costs.stage(1, 2, 1769, 2)
    # 8 micro-batches: stage 0 has 8, stage 1 has 4 on each replica.
    forward = a.forward.path_s + b.forward.path_s + max(7 * 1.0, 3 * 3.0)
    from_first = a.backward.path_s + b.backward.path_s + max(7 * 2.0, 3 * b.backward.slowest_s) + a.closing_s
    from_second = b.backward.path_s + 3 * b.backward.slowest_s + b.closing_s
    assert costs.iteration_s([a, b]) == pytest.approx(forward + max(from_first, from_second))


def test_scatter_reduce_as_published():
    costs = model([make_layer(parameter_mib=75)])
    latency = (0.027 + 0.040) / 2
    assert costs.stage(0, 1, 1769, 4).synchronise_s == pytest.approx(2 * 1.0 + 6 * latency)
    assert costs.stage(0, 1, 1769, 1).synchronise_s == 0


@pytest.mark.parametrize("algorithm", Algorithm)
def test_one_replica_has_nothing_to_sum(algorithm):
    alone = model([make_layer(parameter_mib=75)]).stage(0, 1, 1769, 1, algorithm)
    assert (alone.synchronise_s, alone.puts, alone.gets) == (0, 0, 0)


def test_pieces_approach_the_bound_and_cost_requests():
    costs = model([make_layer(parameter_mib=300)])
    pieces, published = (costs.stage(0, 1, 1769, 4, a) for a in (Algorithm.PIECE_PIPELINED, Algorithm.PIPELINED))
    bound = 2 * 4.0 * 3 / 4
    assert bound < pieces.synchronise_s < 1.05 * bound
    assert pieces.puts == 30 * published.puts, "75 MiB in pieces of 75 MiB/s times 33.5 ms"


def test_all_to_all_holds_the_gradients_of_others():
    costs = model([make_layer(parameter_mib=900, activation_mib=0, output_mib=0.1)])
    whole, pieces = (costs.memory(0, 1, 3, a).synchronise for a in (Algorithm.ALL_TO_ALL, Algorithm.PIECE_PIPELINED))
    assert whole - pieces > 4 * 900 * MIB


def test_requests_of_an_iteration():
    costs = model([make_layer() for _ in range(3)])
    middle = costs.stage(1, 2, 1769, 1)
    assert (middle.puts, middle.gets) == (16, 16)  # 8 micro-batches, activation on and gradient back
    # 3 replicas: each puts 2 splits and its merged one, gets 2 splits and 2 merged ones.
    replicated = costs.stage(0, 3, 1769, 3)
    assert (replicated.puts, replicated.gets) == (9, 12)


def test_bfloat16_halves_what_the_links_carry():
    layers = [make_layer(parameter_mib=500, output_mib=8) for _ in range(3)]
    brain = WireType.BFLOAT16
    native, both, sums, double = (
        model(layers, wire=wire, dtype=dtype)
        for wire, dtype in (
            (EXACT_WIRE, "float32"),
            (WireSpec(activations=brain, gradients=brain), "float32"),
            (WireSpec(gradients=brain), "float32"),
            (WireSpec(activations=brain, gradients=brain), "float64"),
        )
    )
    exact, narrow, mixed, quarter = (costs.stage(1, 2, 1769, 2) for costs in (native, both, sums, double))
    for of in (lambda s: s.forward, lambda s: s.backward):
        for lane in (lambda t: t.upload, lambda t: t.download):
            assert lane(of(narrow)).link_s == lane(of(exact)).link_s / 2
            assert lane(of(quarter)).link_s == lane(of(exact)).link_s / 4
            assert lane(of(mixed)) == lane(of(exact))
    latency = 4 * (0.027 + 0.040) / 2
    assert narrow.synchronise_s - latency == pytest.approx((exact.synchronise_s - latency) / 2)
    assert mixed.synchronise_s == narrow.synchronise_s
    # 4 objects at once: as tensors as before, as bytes half as large.
    assert both.memory(0, 1, 1).transfers == native.memory(0, 1, 1).transfers * 3 / 4
    held = [costs.memory(1, 2, 2).synchronise for costs in (native, sums)]
    assert held[0] == held[1] > 0


def test_memory_counts_each_item():
    layer = make_layer(parameter_mib=10, activation_mib=3, output_mib=1)
    memory = model([layer, layer], optimizer={"name": "adam"}).memory(0, 1, 1)
    assert memory.base == 200 * MIB
    assert memory.weights == memory.gradients == 10 * MIB
    assert memory.optimizer == 20 * MIB
    assert memory.activations == 8 * (3 + 1) * MIB + 2 * MIB  # 8 kept with their outputs; the one under way
    assert memory.transfers == 4 * 2 * MIB  # 4 gradients on their way down, as bytes and as tensors
    assert memory.predicted_mb * 1.1 == pytest.approx(memory.needed_mb)


def test_a_worker_holds_the_code_that_passes_bring_in():
    changes = {"library_bytes": 7 * MIB}
    plain, more = (model([make_layer()], profile_changes=each).memory(0, 1, 1) for each in ({}, changes))
    assert more == replace(plain, base=plain.base + 7 * MIB)
    own = replace(PLATFORMS["aws-lambda"], worker_bytes=150 * MIB)
    there = CostModel(
        profile=make_profile([make_layer()], make_training(), **changes),
        platform=own,
        training=make_training(),
        architecture=Architecture.X86_64,
    )
    assert there.memory(0, 1, 1) == replace(plain, base=157 * MIB)


def test_recomputation_keeps_inputs_and_adds_a_forward_pass():
    layer = make_layer(forward_s=0.1, backward_s=0.2, activation_mib=30, output_mib=1)
    costs = model([make_layer(), layer, layer, make_layer()])
    kept, again = (costs.memory(1, 3, 1, recompute=recompute).activations for recompute in (False, True))
    assert kept == 8 * (60 + 1) * MIB + 2 * MIB  # 8 micro-batches kept, with what leaves; the layer under way
    assert again == (60 + 1) * MIB + 9 * MIB + 2 * MIB  # one of them; 8 inputs and the copy of one
    plain, twice = (costs.stage(1, 3, 1769, 1, recompute=recompute) for recompute in (False, True))
    assert twice.forward == plain.forward
    assert twice.backward.compute_s == pytest.approx(plain.backward.compute_s + 0.2)
    assert twice.backward.upload == plain.backward.upload


def test_fewer_micro_batches_kept_take_less_memory():
    layer = make_layer(activation_mib=30, output_mib=1)
    costs = model([make_layer(), layer, layer, make_layer()])
    three, all_of_them = costs.memory(1, 3, 1, kept=3), costs.memory(1, 3, 1)
    assert all_of_them.activations - three.activations == 5 * (60 + 1) * MIB
    assert three.transfers == 4 * (2 + 2) * MIB  # of both directions at once, as forward and backward alternate


def test_replicas_hold_fewer_activations_and_a_flat_gradient():
    layer = make_layer(parameter_mib=500, activation_mib=3)
    costs = model([layer])
    one, two = costs.memory(0, 1, 1), costs.memory(0, 1, 2)
    assert two.activations < one.activations
    assert one.synchronise == 0
    assert two.synchronise + two.activations + two.transfers == 2 * 500 * MIB


def test_a_model_that_must_be_built_whole_needs_room_for_it():
    layers = [make_layer(parameter_mib=1), make_layer(parameter_mib=900)]
    whole = model(layers, profile_changes={"builds_whole_model": True}).memory(0, 1, 1)
    own = model(layers).memory(0, 1, 1)
    assert whole.total - own.total == pytest.approx(900 * MIB, rel=0.1)


def test_scaled_bandwidth_is_linear_between_its_ends():
    scaled = PLATFORMS["aws-lambda-scaled"]
    assert scaled.bandwidth(1024) == PLATFORMS["aws-lambda"].bandwidth(10_240)
    assert scaled.bandwidth(2048) == pytest.approx(625e6 / 8, rel=0.01)
    assert scaled.bandwidth(10_240) == 3_000e6 / 8
    assert scaled.bandwidth(6144) == pytest.approx((625e6 + 3_000e6) / 16, rel=0.01)


def test_shared_cores_bound_the_iteration():
    costs = model([make_layer(forward_s=1.0, backward_s=1.0)], platform="embedded")
    assert costs.iteration_s([costs.stage(0, 1, 1769, 8)]) > 8 * 2.0 / 2


def test_unknown_platform_lists_the_known():
    with pytest.raises(UserInputError, match="aws-lambda-scaled"):
        find_platform("azure")


def test_a_bill_adds_up_and_leaves_out_what_is_nothing():
    price = price_list().lambda_.usd_per_gb_s.of(Architecture.ARM64)
    made = bill([lambda_compute(gb_seconds(2048, 10), Architecture.ARM64, price), s3_puts(0, 1.0)])
    assert isinstance(made, Bill)
    assert [line.quantity for line in made.lines] == [20]
    assert made.total_usd == pytest.approx(20 * price)
    assert made.to_dict()["total_usd"] == made.total_usd
