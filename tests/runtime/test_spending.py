"""Runs with a budget, their workers as threads of this process: what is counted, and that it ends them."""

import random
import threading

import pytest
import torch._dynamo  # noqa: F401 - a worker imports it with its first optimiser, which takes seconds once

from runtime import keys
from runtime.account import hung
from runtime.outcome import decide, last_commit
from runtime.records import Abort, Claim, EndReason, Failure, FailureKind, WorkerEvent, WorkerSummary
from runtime.spending import STOPPING_S, aborted_usd, committed_usd, gang_usd_per_s, worker_usd_per_s
from runtime.store_memory import MemoryStore
from tests.gangs import FixtureRun, train_in_threads, work
from tests.manifests import make_manifest

USD_PER_S = 2.0
"""Of the gang of two workers of 1 GB."""
TIMEOUT_S = 20
PRICES = {"usd_per_gb_s": USD_PER_S / 2, "usd_per_put": 1e-4, "usd_per_get": 1e-5, "usd_per_attempt": 0.01}
PLAN = {"model": "tiny:build", "layers": [4, 4], "iterations": 120, "global_batch_size": 8, "micro_batch_size": 4}
PLAN |= {"timeout_s": TIMEOUT_S, "checkpoint_s": 0.02, "predicted_iteration_s": 0.01, "segment_iterations": 40}
PLAN |= {"predicted_usd_per_iteration": 0.02, "segment_at_most_usd": USD_PER_S * TIMEOUT_S + 1.0}


_CHOOSE = random.Random(8)
BUDGETS = [_CHOOSE.uniform(0.05, 4.0) for _ in range(50)]
GROUPS = 10
"""Of budgets, each a test of its own, so that several testers share them."""


@pytest.mark.parametrize("group", range(GROUPS))
def test_fifty_budgets_are_kept(tmp_path, group):
    """Each run ends by itself, and has not cost more than its budget and the worst case that its manifest states."""
    for number, budget in enumerate(BUDGETS[group::GROUPS]):
        run = FixtureRun(tmp_path / str(number), budget_usd=budget, **PRICES, **PLAN)
        last = train_in_threads(run, TIMEOUT_S)
        assert last.reason is (EndReason.FINISHED if last.iteration == 120 else EndReason.BUDGET)
        assert last.spent_usd <= budget + run.manifest.spending.segment_at_most_usd
        assert all(commit.spent_usd <= budget for commit in run.commits[:-1]), "no segment begins beyond the budget"
        assert run.weights, "whatever the budget, a checkpoint is there"


def test_what_a_commit_says_is_what_its_workers_say(tmp_path):
    run = FixtureRun(tmp_path, **PRICES, **PLAN)
    last = train_in_threads(run, TIMEOUT_S)
    summaries: list[WorkerSummary] = run.summaries
    seconds = sum(summary.ended_at - summary.started_at for summary in summaries)
    requests = sum(1e-4 * s.traffic.puts + 1e-5 * s.traffic.gets for s in summaries)
    told = seconds * USD_PER_S / 2 + requests + 3 * 0.01
    # The leader is billed for waiting for the others' summaries, too: only its commit tells of that.
    assert told <= last.spent_usd
    later = sum(commit.at for commit in run.commits[1:]) - sum(s.ended_at for s in summaries if s.event.stage == 0)
    leaders_last_requests = 3 * (2e-4 + 500e-5)
    assert last.spent_usd <= told + later * USD_PER_S / 2 + leaders_last_requests
    assert last.billed_s == pytest.approx(seconds, abs=later + 1e-3)


def test_an_aborted_attempt_is_paid_for_by_the_next_one(tmp_path):
    run = FixtureRun(tmp_path, **PRICES, **PLAN)
    store, first = run.gang.artifacts, last_commit(run.gang.artifacts, run.run)
    abort = Abort(reason="failure", retryable=True, message="m", begun_at=100.0, at=100.5)
    decide(store, keys.GangKeys(run.run, 0, 0), abort)
    workers = [threading.Thread(target=work, args=(run, first, place, TIMEOUT_S, 1)) for place in run.manifest.places]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    commit = last_commit(store, run.run)
    assert (commit.number, commit.attempt) == (1, 1)
    own = committed_usd(run.manifest, run.summaries)
    assert commit.spent_usd == pytest.approx(own + aborted_usd(run.manifest, abort), abs=0.5 * USD_PER_S)
    assert commit.spent_usd >= own + aborted_usd(run.manifest, abort)


def test_a_worker_that_hangs_is_paid_for_until_lambda_ends_it():
    """Of four, one has died, one has told of its end, one has never begun, and one says nothing."""
    manifest, store = make_manifest(stages=2, replicas=2, timeout_s=60, **PRICES), MemoryStore()
    gang = keys.GangKeys("run", 0, 0)
    died = WorkerEvent(
        run="run", segment=0, attempt=0, stage=0, replica=0, manifest_sha256=manifest.sha256, commit="initial"
    )
    failure = Failure(event=died, kind=FailureKind.DIED, error="killed", at=105.0)
    abort = Abort(reason="failure", retryable=True, message="m", failure=failure, begun_at=100.0, at=105.0)
    for place in ((0, 0), (0, 1), (1, 0)):
        store.put(gang.claim(*place), Claim(token="t", request_id="r", at=103.0).model_dump_json().encode())
    store.put(gang.failure(0, 1), b"its words")
    seconds, usd = hung(store, manifest, [(gang, abort)])
    assert seconds == 3 + 60 - (5 + STOPPING_S), "its start-up, and the time-out, where 5 s and the rest are counted"
    assert usd == pytest.approx(seconds * worker_usd_per_s(manifest.stages[1], manifest.spending.prices))
    store.put(gang.summary(1, 0), b"its words")
    assert hung(store, manifest, [(gang, abort)]) == (0.0, 0.0)


def test_an_aborted_attempt_costs_at_most_its_life_time():
    manifest = make_manifest(timeout_s=60, **PRICES, predicted_usd_per_iteration=0.0)
    rate = gang_usd_per_s(manifest)
    for lasted, billed in ((5.0, 5.0 + STOPPING_S), (55.0, 60.0), (1e6, 60.0), (-3.0, STOPPING_S)):
        abort = Abort(reason="failure", retryable=True, message="m", begun_at=100.0, at=100.0 + lasted)
        assert aborted_usd(manifest, abort) == pytest.approx(0.01 + billed * rate)
