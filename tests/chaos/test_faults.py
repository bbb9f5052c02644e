"""What the emulator is asked to do for a kind of fault and a seed, whatever the plan."""

import random

import pytest

from chaos.faults import WHAT, Kind, Moment, faults, last_words, messages, moments, possible, rules
from localaws.faults import Action
from runtime.keys import GangKeys
from tests.manifests import make_manifest

FUNCTIONS = {0: "first", 1: "second", 2: "third"}


def plan(**options):
    return make_manifest(**{"layers": [1, 2, 3], "replicas": [2, 1, 3], "iterations": 9, **options})


@pytest.mark.parametrize("kind", Kind)
def test_a_fault_follows_from_its_kind_and_seed(kind: Kind) -> None:
    armed = [rules(fault, plan(), "run", FUNCTIONS) for fault in faults((kind,), 40, seed=7)]
    assert armed == [rules(fault, plan(), "run", FUNCTIONS) for fault in faults((kind,), 40, seed=7)]
    assert all(len(each) == (0 if kind is Kind.EMULATOR_RESTART else 1) for each in armed)
    if kind is not Kind.EMULATOR_RESTART:
        assert len({repr(each) for each in armed}) > 1, "seeds differ"
    assert WHAT[kind]


def test_kills_come_at_all_moments() -> None:
    armed = [rules(fault, plan(), "run", FUNCTIONS)[0] for fault in faults((Kind.KILL,), 200, seed=0)]
    parts = ("/claims/", "/ready/", "/activation/", "/gradient/", "/layers/", "/summary/", "/outcomes/0-0.json")
    assert all(any(part in rule.path for rule in armed) for part in parts)
    assert {rule.answered for rule in armed} == {True, False}
    assert {rule.action for rule in armed} == {Action.KILL}


def test_moments_are_in_the_first_attempt_and_in_iterations_that_there_are() -> None:
    manifest, gang = plan(iterations=3, segment_iterations=2), GangKeys("run", 0, 0)
    seen = {moment.key for seed in range(100) for moment in messages(manifest, "run", random.Random(seed))}
    sent = {key for key in seen if "/activation/" in key}
    assert sent == {gang.activation(iteration, batch) for iteration in range(2) for batch in range(4)}
    numbers = {moment.nth for seed in range(50) for moment in moments(manifest, "run", random.Random(seed))}
    assert numbers == {1, 2}, "of two boundaries"
    assert last_words(manifest, "run")[-1] == Moment("commit", gang.outcome)


def test_a_lone_worker_sends_no_messages() -> None:
    alone = make_manifest(layers=[3], replicas=1)
    assert not possible(Kind.LOST_PUT, alone) and possible(Kind.KILL, alone) and possible(Kind.LOST_PUT, plan())
    for kind in Kind:
        if possible(kind, alone):
            assert all(rules(fault, alone, "run", {0: "only"}) for fault in faults((kind,), 20, 0)) or (
                kind is Kind.EMULATOR_RESTART
            )
