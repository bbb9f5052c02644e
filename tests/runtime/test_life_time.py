"""Runs whose segments end by the clock. The clock is the leader's alone, and an iteration takes 20 s by it."""

import pytest
import torch
import torch._dynamo

import runtime.leader
from runtime.allowance import Allowance
from runtime.records import EndReason
from tests.gangs import FixtureRun, train_in_threads

LIFE_S = 300.0
ITERATION_S = 20.0
PLAN = {"model": "tiny:build", "layers": [5, 3], "replicas": [2, 1], "iterations": 30, "timeout_s": int(LIFE_S)}
PLAN |= {"global_batch_size": 8, "micro_batch_size": 4, "checkpoint_s": 0.02, "predicted_iteration_s": 0.02}


class SlowClock(Allowance):
    """The leader's reckoning with iterations that all take ``ITERATION_S``, however busy this machine is."""

    def __init__(self, *arguments, **options):
        self.seconds = 0.0
        super().__init__(*arguments, clock=lambda: self.seconds, **options)

    def observe(self, seconds):
        self.seconds += ITERATION_S
        super().observe(ITERATION_S)


def test_a_short_life_time_makes_more_segments_and_the_same_weights(tmp_path, monkeypatch: pytest.MonkeyPatch):
    one = FixtureRun(tmp_path / "one", **PLAN)
    assert train_in_threads(one, LIFE_S).reason is EndReason.FINISHED
    monkeypatch.setattr(runtime.leader, "Allowance", SlowClock)
    many = FixtureRun(tmp_path / "many", **PLAN)
    assert train_in_threads(many, LIFE_S).reason is EndReason.FINISHED
    assert len(one.commits) == 2
    assert len(many.commits) - 1 > PLAN["iterations"] * ITERATION_S / LIFE_S
    assert [commit.reason for commit in many.commits[1:-1]] == [EndReason.TIME] * (len(many.commits) - 2)
    assert all(torch.equal(many.weights[name], value) for name, value in one.weights.items())
    assert many.inbox_objects == []
    for segment, commit in enumerate(many.commits[1:]):
        ends = [summary.end_iteration for summary in many.summaries if summary.event.segment == segment]
        assert ends == [commit.iteration] * 3, "all workers of a gang end at the same iteration"
