"""The planner's search for an awaited object beside the mailbox's own, on a clock that only they move."""

import random
from dataclasses import astuple
from functools import partial
from itertools import pairwise

import pytest

from planner.waiting import find
from runtime.arrivals import Arrivals, Wait
from runtime.keys import GangKeys
from runtime.mailbox import Arrival, Mailbox, Turn
from runtime.store import KeyNotFound
from runtime.store_memory import MemoryStore


class Slow(MemoryStore):
    """Holds the object from ``arrived_s`` on; each GET takes ``latency_s`` of the clock."""

    def __init__(self, latency_s: float) -> None:
        super().__init__()
        self.now = self.arrived_s = 0.0
        self.latency_s = latency_s

    def get(self, key, *, within_s=None, found=None):
        self.now += self.latency_s
        if self.now < self.arrived_s:
            raise KeyNotFound(key)
        found(self.arrived_s)
        return bytearray(b"here")

    def sleep(self, seconds: float) -> None:
        self.now += seconds


KEY = GangKeys("run", 0, 0).activation(0, 0)
LATENCY_S = 0.02


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_mailbox_finds_an_object_when_the_planner_says(seed, follows):
    generator = random.Random(seed)
    usual_s, latency_s = generator.choice([0.003, 0.05, 0.4, 3.0]), generator.choice([0.001, 0.02, 0.04])
    store = Slow(latency_s)
    mailbox = Mailbox(
        stage=0,
        inboxes={0: store},
        artifacts=MemoryStore(),
        gang=GangKeys("run", 0, 0),
        stall_timeout_s=1e6,
        deadline=1e9,
        clock=lambda: store.now,
        unix_time=lambda: store.now,
        sleep=store.sleep,
    )
    arrivals, learnt = Arrivals(), []

    def learn(wait: Wait) -> float:
        learnt.append(wait)
        return arrivals.learn(KEY, wait, follows)

    came_s = 0.0
    for _ in range(40):
        before = Arrival()
        before.tell(came_s)
        store.now = issued_s = store.now + generator.choice([-usual_s, 0.0, 1.0]) * generator.random() + 0.01
        store.now = issued_s = max(issued_s, came_s)
        store.arrived_s = issued_s + generator.gauss(usual_s, 0.1 * usual_s)
        look = arrivals.look(KEY, follows)
        expected = find(look, latency_s, issued_s=issued_s, turn_s=issued_s, since_s=came_s, arrived_s=store.arrived_s)
        mailbox.wait(store, KEY, Turn(before, partial(arrivals.look, KEY, follows), learn))
        assert store.now == pytest.approx(expected.at_s, abs=1e-9)
        assert astuple(learnt[-1])[1:] == pytest.approx(astuple(expected.wait)[1:], abs=1e-9)


def paces_s(late_s: float, planned_s: float, computing_s: tuple[float, float], iterations: int) -> list[float]:
    """Of two workers that wait for each other twice in an iteration; one of them starts ``late_s`` later."""
    gang, workers = GangKeys("run", 0, 0), [Arrivals(planned_s), Arrivals(planned_s)]
    found_s, came_s, sent_s, ends = [0.0, 0.0], [0.0, 0.0], late_s, []
    for iteration in range(iterations):
        for micro_batch in range(2):
            for worker, name in ((1, gang.activation), (0, gang.gradient)):
                key = name(iteration, micro_batch)
                look = workers[worker].look(key)
                found = find(
                    look, LATENCY_S, issued_s=found_s[worker], turn_s=0.0, since_s=came_s[worker], arrived_s=sent_s
                )
                came_s[worker] = workers[worker].learn(key, found.wait)
                found_s[worker] = found.at_s
                sent_s = found.at_s + computing_s[worker]
        ends.append(sent_s)
    return [later - earlier for earlier, later in pairwise(ends)]


@pytest.mark.parametrize("late_s", [0.0, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("computing_s", [(0.3, 0.4), (0.1, 0.9), (2.0, 2.0)])
def test_what_a_worker_is_late_by_at_first_does_not_go_round(late_s, computing_s):
    """Each one's lateness is part of the other's wait, so without a common early look it would stay for long."""
    best_s = 2 * (sum(computing_s) + 2 * LATENCY_S)
    later = paces_s(late_s, best_s, computing_s, 12)[1:]
    assert sum(later) / len(later) < 1.1 * best_s
