"""The rule of arrivals, tried on waits of many kinds with a clock that passes only in pauses."""

import itertools
import random
import statistics
from collections.abc import Callable
from functools import partial

import pytest

from runtime.arrivals import UNKNOWN, Arrivals, Look
from runtime.keys import GangKeys
from runtime.mailbox import Turn
from runtime.pacing import (
    CLOSE_LOOKS,
    CLOSE_SHARE,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    LOOKS_IN_VAIN,
    LOOKS_IN_VAIN_FOLLOWING,
    PROMPT,
    RECENT,
    REMEMBERED,
)
from tests.runtime.test_mailbox import At, Clock, mailbox

ITERATIONS = 300
KEY = "run/00000/000/activation/00000000/00001"


def waits(tmp_path, comes: Callable[[], float], iterations=ITERATIONS, follows=False):
    """(looks, delay in seconds) of the real waiting for an object that comes so long after its turn, each iteration."""
    arrivals, results = Arrivals(), []
    for _ in range(iterations):
        clock, at = Clock(), comes()
        turn = Turn(look=partial(arrivals.look, KEY, follows))
        awaited = mailbox(tmp_path, clock, stall_timeout_s=1000).wait(At(at, clock), "k", turn)
        arrivals.learn(KEY, awaited.look, awaited.looks, awaited.due_s, follows)
        results.append((awaited.looks, clock.now - max(at, 0.0)))
    return results[REMEMBERED:]


def varying(mean_s, spread):
    generator = random.Random(7)
    return lambda: max(0.001, generator.gauss(mean_s, spread * mean_s))


@pytest.mark.parametrize("mean_s", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("spread", [0.01, 0.1, 0.3])
def test_the_first_of_a_series_is_looked_for_closely(tmp_path, mean_s, spread):
    found = waits(tmp_path, varying(mean_s, spread))
    assert statistics.mean(looks for looks, _ in found) < 8
    assert statistics.mean(delay for _, delay in found) < 0.006 + (0.02 + 0.6 * spread) * mean_s


@pytest.mark.parametrize("mean_s", [0.005, 0.05, 0.5, 3.0])
@pytest.mark.parametrize("spread", [0.01, 0.1, 0.3])
def test_one_that_follows_takes_few_looks(tmp_path, mean_s, spread):
    found = waits(tmp_path, varying(mean_s, spread), follows=True)
    assert statistics.mean(looks for looks, _ in found) < 1.65
    assert statistics.mean(delay for _, delay in found) < FIRST_PAUSE_S + (0.08 + 1.1 * spread) * mean_s


def test_a_wait_costs_as_many_looks_in_vain_as_the_planner_is_told(tmp_path):
    for follows, told in ((False, LOOKS_IN_VAIN), (True, LOOKS_IN_VAIN_FOLLOWING)):
        counts = [
            statistics.mean(looks for looks, _ in waits(tmp_path, varying(mean_s, spread), follows=follows)) - 1
            for mean_s, spread in itertools.product((0.05, 0.5, 3.0), (0.01, 0.1, 0.3))
        ]
        assert statistics.mean(counts) == pytest.approx(told, abs=0.1)


@pytest.mark.parametrize("follows", [False, True])
def test_what_is_there_already_is_found_at_once(tmp_path, follows):
    assert set(waits(tmp_path, lambda: -1.0, follows=follows)) == {(1, 0.0)}


def test_a_store_that_answers_soon_is_asked_more_often():
    """Waits that spread over 30 ms: at 10 or 20 ms per answer there is one pause, at 1 ms two."""

    def pause_s(answer_s):
        arrivals = Arrivals()
        for waited_s in (0.5, 0.5, 0.53, 0.5, 0.53, 0.53):
            arrivals.learn(KEY, UNKNOWN, 2, waited_s, answer_s=answer_s)
        return arrivals.look(KEY).pause_s

    assert [pause_s(answer_s) for answer_s in (None, 0.01, 0.02)] == pytest.approx([0.03] * 3)
    assert pause_s(0.001) == pytest.approx(max(0.03 / CLOSE_LOOKS, CLOSE_SHARE * 0.5))
    assert pause_s(0.5) == 0.5, "pauses that are over before the answer would only count as short ones"


def test_what_is_there_at_each_turn_is_asked_for_before(tmp_path):
    arrivals, before_its_turn = Arrivals(), []
    for _ in range(20):
        clock = Clock()
        turn = Turn(look=partial(arrivals.look, KEY, follows=True))
        awaited = mailbox(tmp_path, clock).wait(At(-1.0, clock), "k", turn)
        before_its_turn.append(awaited.look.after_s < 0)
        arrivals.learn(KEY, awaited.look, awaited.looks, awaited.due_s, follows=True)
    assert not any(before_its_turn[:RECENT]) and all(before_its_turn[RECENT:])


def test_where_a_series_piles_up_its_next_ones_are_asked_for_before_their_turn():
    arrivals, gang = Arrivals(), GangKeys("run", 0, 0)

    def learn(number: int, looks: int, waited_s: float | None) -> None:
        key = gang.split(7, 0, 0, 1, number)
        arrivals.learn(key, arrivals.look(key, follows=True), looks, waited_s, follows=True)

    def early(iteration: int, number: int) -> bool:
        return arrivals.look(gang.split(iteration, 0, 0, 1, number), follows=True).after_s < 0

    for number in range(RECENT):
        assert not early(7, number)
        learn(number, 1, 0.0)
    assert early(7, RECENT)
    assert not early(8, RECENT), "another iteration shows itself how it goes"
    learn(RECENT, 1, None)
    assert early(7, RECENT + 1), "it was there before its turn"
    learn(RECENT + 1, 2, 0.0)
    assert not early(7, RECENT + 2), "once asked for in vain"


def test_after_several_at_their_first_look_the_next_one_is_asked_for_at_its_turn():
    arrivals, gang = Arrivals(), GangKeys("run", 0, 0)

    def look(number: int) -> Look:
        return arrivals.look(gang.split(7, 0, 0, 1, number), follows=True)

    for number, looks in enumerate([2] + [1] * (PROMPT - 1)):
        arrivals.learn(gang.split(7, 0, 0, 1, number), look(number), looks, 0.012, follows=True)
        assert look(number + 1).after_s > 0
    arrivals.learn(gang.split(7, 0, 0, 1, PROMPT), look(PROMPT), 1, 0.012, follows=True)
    assert look(PROMPT + 1).after_s == 0, "it was sooner every time, nobody knows how much"
    arrivals.learn(gang.split(7, 0, 0, 1, PROMPT + 1), look(PROMPT + 1), 2, 0.012, follows=True)
    assert look(PROMPT + 2).after_s > 0, "once asked for in vain"


def test_a_short_wait_that_was_long_once_is_not_taken_for_long():
    """Of the first of a series: replicas come to their sum at nearly the same time, but for once."""
    arrivals = Arrivals()
    for waited_s in (0.02, 0.02, 0.8):
        arrivals.learn("a", arrivals.look("a"), 3, waited_s)
    assert arrivals.look("a").after_s <= 0.02


def test_one_late_arrival_does_not_delay_the_next_ones(tmp_path):
    late = iter([0.1] * 20 + [5.0] + [0.1] * 20)
    delays = [delay for _, delay in waits(tmp_path, lambda: next(late), iterations=41)]
    assert max(delays[-20:]) < 0.05


@pytest.mark.parametrize("follows", [False, True])
def test_a_lasting_change_is_learnt_within_a_few_iterations(tmp_path, follows):
    for before, after in ((0.1, 1.0), (1.0, 0.1)):
        arriving = iter([before] * 20 + [after] * 30)
        results = waits(tmp_path, lambda arriving=arriving: next(arriving), iterations=50, follows=follows)
        assert all(looks <= 5 and delay <= 0.2 * after for looks, delay in results[-5:])


def test_a_slow_first_iteration_is_no_measure(tmp_path):
    arriving = iter([0.35] + [0.1] * 20)
    delays = [delay for _, delay in waits(tmp_path, lambda: next(arriving), iterations=21)]
    assert max(delays) < 0.04


def test_at_first_the_plan_says_how_often_to_look():
    assert Arrivals().look("a") == Look(0.0, FIRST_PAUSE_S)
    assert Arrivals(iteration_s=0.64).look("a") == Look(0.0, 0.02)
    assert Arrivals(iteration_s=640.0).look("a") == Look(0.0, 20.0)


def test_the_first_wait_is_a_hint_and_no_measure():
    arrivals = Arrivals()
    arrivals.learn("a", Look(), 30, 4.0)
    assert arrivals.look("a") == Look(1.0, 0.5, 4.0), "it may well be there sooner in the second iteration"
    arrivals.learn("a", arrivals.look("a"), 3, 3.6)
    assert arrivals.look("a").after_s == pytest.approx(3.6, abs=CLOSE_SHARE * 3.6)
    arrivals.learn("b", UNKNOWN, 1, 0.0)
    assert arrivals.look("b") == arrivals.look("c") == UNKNOWN, "it was there at once"


def test_no_wait_is_guessed_to_be_longer_than_the_planned_iteration():
    arrivals = Arrivals(iteration_s=0.8)
    arrivals.learn("a", UNKNOWN, 30, 4.0)
    assert arrivals.look("a") == Look(0.2, 0.1, 0.8), "another worker started late"


def test_in_the_first_iterations_one_that_follows_is_judged_by_those_before_it():
    arrivals, gang = Arrivals(), GangKeys("run", 0, 0)
    assert arrivals.look(gang.activation(0, 1), follows=True) == UNKNOWN
    arrivals.learn(gang.activation(0, 0), UNKNOWN, 9, 2.0)
    assert arrivals.look(gang.activation(0, 1), follows=True) == UNKNOWN, "what the first waited for is another thing"
    arrivals.learn(gang.activation(0, 1), UNKNOWN, 3, 0.1, follows=True)
    assert arrivals.look(gang.activation(0, 2), follows=True) == Look(0.1, 0.05)
    arrivals.learn(gang.activation(0, 2), UNKNOWN, 3, 0.3, follows=True)
    assert arrivals.look(gang.activation(0, 3), follows=True) == Look(0.2, 0.1), "their mean"
    assert arrivals.look(gang.gradient(0, 2), follows=True) == UNKNOWN, "nothing is known of gradients"
    assert arrivals.look(gang.activation(0, 3)) == UNKNOWN, "it does not follow"
    assert arrivals.look(gang.activation(1, 1), follows=True).after_s == pytest.approx(0.2), "the last iteration's mean"
    arrivals.learn(gang.activation(1, 1), UNKNOWN, 1, 0.1, follows=True)
    assert arrivals.look(gang.activation(1, 3), follows=True).after_s == pytest.approx(0.075), "it was there sooner"


def test_found_at_the_first_look_it_is_looked_for_ever_sooner():
    arrivals, look = Arrivals(), Look(3.4, 0.4, 4.0)
    for looks, waited_s in ((9, 4.0), (3, 4.0)):
        arrivals.learn("a", look, looks, waited_s)
    begins = [arrivals.look("a").after_s]
    for _ in range(4):
        arrivals.learn("a", arrivals.look("a"), 1, begins[-1])
        begins.append(arrivals.look("a").after_s)
    steps = [earlier - later for earlier, later in itertools.pairwise(begins)]
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(steps))


def test_pauses_grow_with_a_long_wait(tmp_path):
    clock = Clock()
    awaited = mailbox(tmp_path, clock, stall_timeout_s=1000).wait(At(60.0, clock), "k", Turn())
    assert awaited.due_s == pytest.approx(60, abs=0.05 * 60 + LONGEST_PAUSE_S)
    assert clock.now < 60 * 1.06
    assert awaited.looks < 120


def test_when_its_turn_comes_an_object_is_judged_by_what_is_known_then(tmp_path):
    """Requested when nothing was known; meanwhile another one of its series has come."""
    clock, looks = Clock(), iter([Look(), Look(9.0, 0.4)])
    awaited = mailbox(tmp_path, clock).wait(At(9.2, clock), "k", Turn(look=lambda: next(looks)))
    assert (awaited.looks, awaited.look) == (2, Look(9.0, 0.4))
