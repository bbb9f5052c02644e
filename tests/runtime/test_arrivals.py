"""The rule of arrivals, tried on waits of many kinds with a clock that passes only in pauses."""

import itertools
import random
import statistics
from collections.abc import Callable
from functools import partial

import pytest

from runtime.arrivals import UNKNOWN, Arrivals, Look, Wait
from runtime.keys import GangKeys
from runtime.mailbox import Turn
from runtime.pacing import (
    CLOSE_SHARE,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    LOOKS_IN_VAIN,
    LOOKS_IN_VAIN_FOLLOWING,
    RECENT,
    REMEMBERED,
)
from tests.runtime.test_mailbox import At, Clock, mailbox, wait_for

ITERATIONS = 300
KEY = "run/00000/000/activation/00000000/00001"


class Behind(At):
    """By a clock that goes wrong by so much, or of which nothing is known."""

    def __init__(self, at, clock, off_s):
        super().__init__(at, clock)
        self.off_s = off_s

    def get(self, key, *, within_s=None, found=None):
        return super().get(key, found=lambda at: found(None if self.off_s is None else at + self.off_s))


def waits(tmp_path, comes: Callable[[], float], iterations=ITERATIONS, follows=False, off_s: float | None = 0.0):
    """(looks, delay in seconds) of the real waiting for an object that comes so long after its turn, each iteration."""
    arrivals, results = Arrivals(), []
    for _ in range(iterations):
        clock, at, learnt = Clock(), comes(), []

        def learn(wait, learnt=learnt):
            learnt.append(wait)
            return arrivals.learn(KEY, wait, follows)

        turn = Turn(None, partial(arrivals.look, KEY, follows), learn)
        mailbox(tmp_path, clock, stall_timeout_s=1000).wait(Behind(at, clock, off_s), "k", turn)
        results.append((learnt[0].looks, clock.now - max(at, 0.0)))
    return results[REMEMBERED:]


def waited(came_s: float, *, looks: int = 2, issued_s: float = 0.0, answer_s: float | None = None) -> Wait:
    """For an object that came so long after its turn, as its store said."""
    return Wait(UNKNOWN, looks, issued_s, 0.0, max(0.0, came_s) + 0.3, None, came_s, answer_s)


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


def test_however_late_it_is_found_the_wait_for_an_object_is_learnt_as_its_store_says():
    for follows in (False, True):
        arrivals = Arrivals()
        for _ in range(2):
            assert arrivals.learn(KEY, Wait(UNKNOWN, 1, 4.0, 5.0, 6.0, None, 5.4), follows) == pytest.approx(5.4)
        assert arrivals.look(KEY, follows).after_s == pytest.approx(0.4)


def test_what_a_store_says_does_not_count_against_what_looks_say():
    arrivals = Arrivals()
    assert arrivals.learn(KEY, Wait(UNKNOWN, 2, 0.0, 0.0, 6.0, 5.0, 4.0)) == 5.0, "it was not there at 5 s"
    assert Arrivals().learn(KEY, Wait(UNKNOWN, 2, 0.0, 0.0, 6.0, 5.0, 7.0)) == 6.0, "it was there at 6 s"
    assert Arrivals().learn(KEY, Wait(UNKNOWN, 2, 0.0, 0.0, 6.0, 5.0, None)) == 5.5, "nothing is said"
    assert Arrivals().learn(KEY, Wait(UNKNOWN, 1, 0.0, 0.0, 6.0, None, None)) == 6.0


@pytest.mark.parametrize("off_s", [-0.2, 0.2, 5.0, -5.0, None])
@pytest.mark.parametrize("follows", [False, True])
def test_a_senders_clock_may_be_wrong(tmp_path, off_s, follows):
    found = waits(tmp_path, varying(0.5, 0.1), follows=follows, off_s=off_s)[-200:]
    assert statistics.mean(delay for _, delay in found) < 0.2
    assert statistics.mean(looks for looks, _ in found) < 8


def test_no_pause_is_shorter_than_a_stores_answer():
    def pauses_s(answer_s):
        arrivals = Arrivals()
        for _ in range(3):
            arrivals.learn(KEY, waited(0.01, answer_s=answer_s))
        return [arrivals.look(KEY, follows).pause_s for follows in (False, True)]

    assert pauses_s(None) == [FIRST_PAUSE_S] * 2
    assert pauses_s(0.04) == pytest.approx([0.04] * 2)


@pytest.mark.parametrize("follows", [False, True])
def test_what_was_there_when_it_was_requested_is_then_asked_for_at_once(follows):
    arrivals = Arrivals()
    for wait in (waited(-2.0, issued_s=-1.0), Wait(UNKNOWN, 1, -1.0, None, -1.0)):
        for _ in range(RECENT):
            arrivals.learn(KEY, wait, follows)
        assert arrivals.look(KEY, follows).after_s < 0
    for _ in range(REMEMBERED):
        arrivals.learn(KEY, waited(-1.0, issued_s=-2.0), follows)
    assert arrivals.look(KEY, follows).after_s == 0, "there at its turn, but not yet at its request"


def test_where_a_series_piles_up_its_next_ones_are_asked_for_at_once():
    arrivals, gang = Arrivals(), GangKeys("run", 0, 0)
    there, late = Wait(UNKNOWN, 1, 0.0, 0.0, 0.0, None, -1.0), waited(0.2)

    def early(iteration: int, number: int) -> bool:
        return arrivals.look(gang.split(iteration, 0, 0, 1, number), follows=True).after_s < 0

    for number in range(RECENT):
        assert not early(7, number)
        arrivals.learn(gang.split(7, 0, 0, 1, number), there, follows=True)
    assert early(7, RECENT)
    assert not early(8, RECENT), "another iteration shows itself how it goes"
    arrivals.learn(gang.split(7, 0, 0, 1, RECENT), Wait(UNKNOWN, 1, 0.0, None, 0.0), follows=True)
    assert early(7, RECENT + 1), "it was there before its turn"
    arrivals.learn(gang.split(7, 0, 0, 1, RECENT + 1), late, follows=True)
    assert not early(7, RECENT + 2), "once asked for in vain"


def test_a_short_wait_that_was_long_once_is_not_taken_for_long():
    """Of the first of a series: replicas come to their sum at nearly the same time, but for once."""
    arrivals = Arrivals()
    for waited_s in (0.02, 0.02, 0.8):
        arrivals.learn("a", waited(waited_s))
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
    arrivals.learn("a", waited(4.0))
    assert arrivals.look("a") == Look(1.0, 0.5, 4.0), "it may well be there sooner in the second iteration"
    arrivals.learn("a", waited(3.6))
    assert arrivals.look("a") == Look(pytest.approx(3.6), pytest.approx(CLOSE_SHARE * 3.6), pytest.approx(3.708))
    arrivals.learn("b", waited(0.0))
    assert arrivals.look("b") == arrivals.look("c") == UNKNOWN, "it was there at once"


def test_no_wait_is_guessed_to_be_longer_than_the_planned_iteration():
    arrivals = Arrivals(iteration_s=0.8)
    arrivals.learn("a", waited(4.0))
    assert arrivals.look("a") == Look(0.2, 0.1, 0.8), "another worker started late"


def test_in_the_first_iterations_one_that_follows_is_judged_by_those_before_it():
    arrivals, gang = Arrivals(), GangKeys("run", 0, 0)
    assert arrivals.look(gang.activation(0, 1), follows=True) == UNKNOWN
    arrivals.learn(gang.activation(0, 0), waited(2.0))
    assert arrivals.look(gang.activation(0, 1), follows=True) == UNKNOWN, "what the first waited for is another thing"
    arrivals.learn(gang.activation(0, 1), waited(0.1), follows=True)
    assert arrivals.look(gang.activation(0, 2), follows=True) == Look(0.1, 0.05)
    arrivals.learn(gang.activation(0, 2), waited(0.3), follows=True)
    assert arrivals.look(gang.activation(0, 3), follows=True) == Look(pytest.approx(0.2), pytest.approx(0.1))
    assert arrivals.look(gang.gradient(0, 2), follows=True) == UNKNOWN, "nothing is known of gradients"
    assert arrivals.look(gang.activation(0, 3)) == UNKNOWN, "it does not follow"
    assert arrivals.look(gang.activation(1, 1), follows=True).after_s == pytest.approx(0.2), "the last iteration's mean"
    arrivals.learn(gang.activation(1, 1), waited(0.15), follows=True)
    assert arrivals.look(gang.activation(1, 3), follows=True).after_s == pytest.approx(0.15), "this one's, once known"


def test_pauses_grow_with_a_long_wait(tmp_path):
    clock = Clock()
    wait = wait_for(tmp_path, clock, At(60.0, clock), UNKNOWN)
    assert clock.now == pytest.approx(60, abs=0.05 * 60 + LONGEST_PAUSE_S)
    assert clock.now < 60 * 1.06
    assert wait.looks < 120


def test_when_its_turn_comes_an_object_is_judged_by_what_is_known_then(tmp_path):
    """Requested when nothing was known; meanwhile another one of its series has come."""
    clock, looks, learnt = Clock(), iter([Look(), Look(9.0, 0.4)]), []
    turn = Turn(None, lambda: next(looks), lambda wait: learnt.append(wait) or 0.0)
    mailbox(tmp_path, clock).wait(At(9.2, clock), "k", turn)
    assert (learnt[0].looks, learnt[0].look) == (2, Look(9.0, 0.4))
