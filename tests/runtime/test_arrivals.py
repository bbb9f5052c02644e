"""The rule of arrivals, tried on waits of many kinds with a clock that passes only in pauses."""

import itertools
import random
import statistics
from collections.abc import Callable

import pytest

from runtime.arrivals import Arrivals, Look
from runtime.mailbox import Turn
from runtime.pacing import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOOKS_IN_VAIN, REMEMBERED
from tests.runtime.test_mailbox import At, Clock, mailbox

ITERATIONS = 300


def waits(tmp_path, comes: Callable[[], float], iterations=ITERATIONS):
    """(looks, delay in seconds) of the real waiting for an object that comes so long after its turn, each iteration."""
    arrivals, results = Arrivals(), []
    for _ in range(iterations):
        clock, at = Clock(), comes()
        look = arrivals.look("k")
        awaited = mailbox(tmp_path, clock, stall_timeout_s=1000).wait(At(at, clock), "k", Turn(look=look))
        arrivals.learn("k", look, awaited.looks, awaited.due_s)
        results.append((awaited.looks, clock.now - max(at, 0.0)))
    return results[REMEMBERED:]


@pytest.mark.parametrize("mean_s", [0.005, 0.05, 0.5, 3.0])
@pytest.mark.parametrize("spread", [0.01, 0.1, 0.3])
def test_looks_are_few_and_delays_of_the_order_of_the_spread(tmp_path, mean_s, spread):
    generator = random.Random(7)
    found = waits(tmp_path, lambda: max(0.001, generator.gauss(mean_s, spread * mean_s)))
    assert statistics.mean(looks for looks, _ in found) < 2.1
    assert statistics.mean(delay for _, delay in found) < FIRST_PAUSE_S + (0.06 + spread) * mean_s


def test_a_wait_costs_as_many_looks_in_vain_as_the_planner_is_told(tmp_path):
    generator, counts = random.Random(7), []
    for mean_s, spread in itertools.product((0.005, 0.05, 0.5, 3.0), (0.01, 0.1, 0.3)):
        found = waits(
            tmp_path, lambda mean_s=mean_s, spread=spread: max(0.001, generator.gauss(mean_s, spread * mean_s))
        )
        counts.append(statistics.mean(looks for looks, _ in found) - 1)
    assert statistics.mean(counts) == pytest.approx(LOOKS_IN_VAIN, abs=0.1)


def test_what_is_there_already_is_found_at_once(tmp_path):
    assert set(waits(tmp_path, lambda: -1.0)) == {(1, 0.0)}


def test_one_late_arrival_does_not_delay_the_next_ones(tmp_path):
    late = iter([0.1] * 20 + [5.0] + [0.1] * 20)
    delays = [delay for _, delay in waits(tmp_path, lambda: next(late), iterations=41)]
    assert max(delays[-20:]) < 0.05


def test_a_lasting_change_is_learnt_within_a_few_iterations(tmp_path):
    for before, after in ((0.1, 1.0), (1.0, 0.1)):
        arriving = iter([before] * 20 + [after] * 30)
        results = waits(tmp_path, lambda arriving=arriving: next(arriving), iterations=50)
        assert all(looks <= 5 and delay <= 0.2 * after for looks, delay in results[-5:])


def test_a_slow_first_iteration_is_no_measure(tmp_path):
    arriving = iter([0.35] + [0.1] * 20)
    delays = [delay for _, delay in waits(tmp_path, lambda: next(arriving), iterations=21)]
    assert max(delays) < 0.03


def test_at_first_the_plan_says_how_often_to_look():
    assert Arrivals().look("a") == Look(0.0, FIRST_PAUSE_S)
    assert Arrivals(iteration_s=0.64).look("a") == Look(0.0, 0.01)
    assert Arrivals(iteration_s=640.0).look("a") == Look(0.0, LONGEST_PAUSE_S)


def test_the_first_wait_is_a_hint_and_no_measure():
    arrivals = Arrivals()
    arrivals.learn("a", Look(), 30, 5.0)
    assert arrivals.look("a") == Look(1.25, 0.625)
    arrivals.learn("a", Look(), 3, 0.5)
    assert arrivals.look("a").after_s == 0.5
    arrivals.learn("b", Look(), 1, 0.0)
    assert arrivals.look("b") == arrivals.look("c") == Look(), "it was there at once"


def test_pauses_grow_with_a_long_wait(tmp_path):
    clock = Clock()
    awaited = mailbox(tmp_path, clock, stall_timeout_s=1000).wait(At(60.0, clock), "k", Turn())
    assert awaited.due_s == pytest.approx(60, abs=0.05 * 60 + LONGEST_PAUSE_S)
    assert clock.now < 60 * 1.06
    assert awaited.looks < 120
