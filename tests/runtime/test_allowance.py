"""What time and money allow, on a clock of the test's own."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.allowance import Allowance
from runtime.records import Commit, End, EndReason, Ready, Traffic
from runtime.segment_end import LeadersEnd
from runtime.spending import gang_usd_per_s
from tests.manifests import make_manifest

USD_PER_GB_S = 0.5


def plan(**options):
    """Two workers of 1 GB, so a second of the gang costs 1 USD, and nothing else costs anything."""
    free = {"usd_per_put": 0.0, "usd_per_get": 0.0, "usd_per_attempt": 0.0, "predicted_usd_per_iteration": 0.0}
    return make_manifest(**{"usd_per_gb_s": USD_PER_GB_S, "timeout_s": 100, "iterations": 1_000, **free, **options})


def a_commit(**options):
    fields = {"number": 0, "base": None, "iteration": 0, "layers": [], "reason": None, "billed_s": 0, "spent_usd": 0}
    return Commit(**{**fields, "at": 0, **options})


class Gang:
    """An allowance on a clock that only the test moves."""

    def __init__(self, manifest, base=None, *, spent_usd=0.0, remaining_s=100.0, start_up_s=0.0, traffic=None):
        self.now = 0.0
        ready = Ready(at=0.0, remaining_s=remaining_s, billed_s=start_up_s)
        self.allowance = Allowance(
            manifest,
            base or a_commit(),
            spent_usd=spent_usd,
            ready=[ready] * manifest.workers,
            traffic=lambda: traffic or Traffic(),
            clock=lambda: self.now,
            now=lambda: self.now,
        )

    def iterate(self, seconds):
        self.now += seconds
        self.allowance.observe(seconds)


def test_time_is_what_the_first_to_be_ended_has_less_checkpoint_and_margin():
    gang = Gang(plan(checkpoint_s=10.0))
    assert gang.allowance.closing_s == pytest.approx(2 * 10 + 0.02 * 100)
    gang.now = 8.0
    assert gang.allowance.time_left_s == pytest.approx(100 - 8 - 22)


def test_a_measured_checkpoint_counts_rather_than_the_predicted_one():
    gang = Gang(plan(checkpoint_s=10.0), a_commit(checkpoint_s=1.0))
    assert gang.allowance.closing_s == pytest.approx(2 * 1 + 0.02 * 100)


def test_the_length_follows_the_measured_speed():
    gang = Gang(plan(checkpoint_s=1.0))
    for seconds in (2.0, 4.0, 3.0):
        gang.iterate(seconds)
    assert gang.allowance() == (pytest.approx((100 - 9 - 7) / (1.5 * 4.0)), EndReason.TIME)
    for _ in range(20):
        gang.iterate(0.5)
    assert gang.allowance()[0] == pytest.approx((100 - 19 - 7) / (1.5 * 0.5)), "slow iterations are forgotten"
    assert gang.allowance.longest_s == 4.0


def test_what_is_known_of_the_speed_before_the_first_iteration():
    assert Gang(plan(predicted_iteration_s=2.0)).allowance.iteration_s == 6.0
    assert Gang(plan(), a_commit(iteration_s=3.0)).allowance.iteration_s == 4.5


def test_few_iterations_are_told_of_from_the_start():
    many, few = Gang(plan(), a_commit(iteration_s=1.0)), Gang(plan(), a_commit(iteration_s=20.0))
    assert many.allowance.end_from_start(7) is None
    assert few.allowance.end_from_start(7) == End(iteration=10, reason=EndReason.TIME)
    slow = Gang(plan(), a_commit(iteration_s=80.0))
    assert slow.allowance.end_from_start(7) == End(iteration=8, reason=EndReason.TIME), "one at least"


def test_money_is_the_budget_less_what_is_spent_at_the_gangs_rate():
    manifest = plan(budget_usd=50.0, checkpoint_s=1.0)
    assert gang_usd_per_s(manifest) == pytest.approx(1.0)
    gang = Gang(manifest, spent_usd=10.0, start_up_s=3.0)
    assert gang.allowance.spent_usd == pytest.approx(13.0)
    gang.iterate(5.0)
    assert gang.allowance.spent_usd == pytest.approx(18.0)
    assert gang.allowance.money_left_s() == pytest.approx(50 - 18 - 2)
    assert gang.allowance()[1] is EndReason.BUDGET
    assert Gang(plan()).allowance.money_left_s() == inf


def test_storage_requests_are_counted_as_many_for_each_worker_as_the_leader_makes():
    gang = Gang(plan(budget_usd=50.0, usd_per_put=0.01, usd_per_get=0.001), traffic=Traffic(puts=100, gets=500))
    gang.iterate(10.0)
    assert gang.allowance.spent_usd == pytest.approx(10 + 2 * (1.0 + 0.5))


def test_no_segment_begins_that_cannot_be_paid():
    gang = Gang(plan(budget_usd=50.0, checkpoint_s=1.0), a_commit(iteration_s=2.0), start_up_s=5.0)
    least = 5 + 1.5 * 2 + 2
    assert gang.allowance.affords_another(50 - least - 0.01)
    assert not gang.allowance.affords_another(50 - least + 0.01)
    broke = Gang(plan(budget_usd=50.0), a_commit(iteration_s=2.0), spent_usd=49.9)
    assert broke.allowance.end_from_start(7) == End(iteration=7, reason=EndReason.BUDGET), "not one iteration"


def test_a_clock_that_runs_ahead_makes_no_worker_live_longer():
    manifest = plan()
    ready = [Ready(at=0.0, remaining_s=100.0, billed_s=0.0), Ready(at=1_000.0, remaining_s=90.0, billed_s=0.0)]
    allowance = Allowance(
        manifest, a_commit(), spent_usd=0, ready=ready, traffic=Traffic, clock=lambda: 0.0, now=lambda: 5.0
    )
    assert allowance.remaining_s == 90.0


@given(
    budget=st.floats(1, 400),
    checkpoint_s=st.floats(0.1, 1.9),
    seconds=st.lists(st.floats(0.5, 0.74), min_size=1, max_size=8),
)
def test_a_run_of_steady_speed_never_passes_its_budget(budget, checkpoint_s, seconds):
    """Segment after segment, to the money's end; iterations vary by less than the slack, and so do checkpoints."""
    manifest = plan(budget_usd=budget, checkpoint_s=1.0, predicted_iteration_s=0.5, iterations=100_000)
    base, spent, iteration, start_up_s = a_commit(), 0.0, 0, 2.0
    while True:
        gang = Gang(manifest, base, spent_usd=spent, start_up_s=start_up_s)
        told = gang.allowance.end_from_start(iteration)
        limit, reason = (told.iteration, told.reason) if told else (100_000, EndReason.FINISHED)
        end = LeadersEnd(iteration, limit, reason, allowance=gang.allowance, tell=lambda end: None)
        while end.includes(iteration):
            gang.iterate(seconds[iteration % len(seconds)])
            iteration += 1
        gang.now += checkpoint_s
        assert gang.now <= gang.allowance.remaining_s, "the checkpoint is written within the functions' life time"
        spent = gang.allowance.spent_usd
        if end.reason is EndReason.BUDGET or not gang.allowance.affords_another(spent):
            break
        base = a_commit(iteration=iteration, iteration_s=gang.allowance.longest_s, checkpoint_s=checkpoint_s)
    first_start = start_up_s + checkpoint_s
    assert spent <= budget or spent <= first_start, "only what is spent before anybody can look may exceed it"


@pytest.mark.parametrize(("at", "left_s"), [(3_600.0, 100.0), (-20.0, 80.0), (-3_600.0, 60.0)])
def test_a_workers_wrong_clock_costs_no_more_than_the_longest_wait_for_the_gang(at, left_s):
    """Told by a clock that is an hour ahead, 20 s behind or waiting, an hour behind."""
    ready = [Ready(at=0.0, remaining_s=100.0, billed_s=1.0), Ready(at=at, remaining_s=100.0, billed_s=1.0)]
    manifest = plan(stall_timeout_s=40.0)
    allowance = Allowance(
        manifest, a_commit(), spent_usd=0.0, ready=ready, traffic=Traffic, clock=lambda: 0.0, now=lambda: 0.0
    )
    assert allowance.remaining_s == left_s
