"""Sums of gradients, replayed transfer by transfer, beside the formulae that the planner chooses by."""

from dataclasses import replace

import pytest

from planner.simulate import Sharing, simulate
from runtime.schedule import Lane, ScheduleName
from runtime.synchronisation import Algorithm, Exchange
from tests.planner.test_simulate import stage

WHOLE_S, LATENCY_S = 3.2, 0.001
MIB = 1 << 20


def seconds_of_a_sum(algorithm: Algorithm, replicas: int, piece_bytes: int = 4 * MIB) -> tuple[float, Exchange]:
    """From the last backward to the step, once arrivals are learnt; all replicas are alike."""
    exchange = Exchange(
        gradient_bytes=128 * MIB,
        replicas=replicas,
        bandwidth=128 * MIB / WHOLE_S,
        latency_s=LATENCY_S,
        piece_bytes=piece_bytes,
    )
    costs = replace(stage(replicas=replicas), algorithm=algorithm, exchange=exchange)
    found = simulate(
        [costs],
        schedule=ScheduleName.GPIPE,
        shares=[1.0] * replicas,
        get_latency_s=LATENCY_S,
        sharing=Sharing(cores=replicas, timed_links=True),
        iterations=24,
    )
    return found.iteration_s - 2.0, exchange  # one micro-batch forward and backward, a second each


@pytest.mark.parametrize("replicas", [2, 3, 5])
@pytest.mark.parametrize("algorithm", [Algorithm.PLAIN, Algorithm.PIPELINED, Algorithm.ALL_TO_ALL])
def test_sums_take_what_their_formulae_say(algorithm, replicas):
    seconds, exchange = seconds_of_a_sum(algorithm, replicas)
    assert seconds == pytest.approx(exchange.seconds(algorithm), rel=0.05)


def test_pieces_are_between_their_bound_and_their_formula():
    seconds, exchange = seconds_of_a_sum(Algorithm.PIECE_PIPELINED, 4)
    assert exchange.pieces == 8
    assert exchange.bound_s <= seconds <= 1.1 * exchange.seconds(Algorithm.PIECE_PIPELINED)


def test_one_replica_has_nothing_to_sum():
    assert seconds_of_a_sum(Algorithm.PIPELINED, 1)[0] == pytest.approx(0.0)


def test_transfers_take_no_core_where_links_are_timed():
    #  one core, links of 3 s   down      L0 L0 L0 L1 L1 L1
    #                           compute   .  .  .  F0 .  .  F1
    #                           up        .  .  .  .  S0 S0 S0
    plan = [stage(link_s=3.0), stage(link_s=3.0)]
    found = simulate(
        plan,
        schedule=ScheduleName.GPIPE,
        shares=[1.0, 1.0],
        get_latency_s=0.0,
        sharing=Sharing(cores=1, timed_links=True),
        iterations=2,
    )
    spans = {(e.stage, e.instruction): (e.start_s, e.end_s) for e in found.events if e.iteration == 0}
    assert spans[0, "F0"] == pytest.approx((3.0, 4.0)), "its samples take 3 s"
    assert spans[0, "F1"] == pytest.approx((6.0, 7.0)), "as fast as alone, beside two transfers"
    assert spans[0, "SF0"] == pytest.approx((4.0, 7.0))
    assert {event.lane for event in found.events} == set(Lane)
