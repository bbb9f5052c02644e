"""A handful of faults; ``python -m tests.faults`` does as many as there is time for."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from runtime.store_faults import FaultSpec
from tests.faults.__main__ import logged, table
from tests.faults.faults import DELIVERIES, LAYERS, Fault, Kind, faults
from tests.faults.trial import Trial, Weights, attempt, weights_without_fault


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return weights_without_fault(tmp_path_factory.mktemp("none"))


@pytest.mark.parametrize("kind", [Kind.ZOMBIE, Kind.EXCEPTION, Kind.CLOCK_AHEAD, Kind.UNANSWERED_PUT])
def test_a_run_that_meets_a_fault_ends_with_the_same_weights(kind: Kind, tmp_path: Path, expected: Weights) -> None:
    trial = attempt(Fault(kind, seed=1), tmp_path, expected)
    assert trial.passed, trial
    assert trial.aborted == (1 if kind in (Kind.ZOMBIE, Kind.EXCEPTION) else 0)
    assert trial.late_writes >= (20 if kind is Kind.ZOMBIE else 0)
    assert trial.resumed is (kind is Kind.EXCEPTION)


def test_a_fault_follows_from_its_kind_and_seed() -> None:
    for kind in Kind:
        one, same, other = Fault(kind, 3), Fault(kind, 3), Fault(kind, 4)
        assert (one.store, one.model_args("m")) == (same.store, same.model_args("m"))
        assert one.invoked_again([(0, 0)]) == ((0, 0) if kind in DELIVERIES else None)
        if one.store.rules:
            assert one.store != other.store and one.model_args("m") == {}
        elif kind is not Kind.DUPLICATED_EVENT:
            assert one.store == FaultSpec(seed=3)
            assert one.model_args("m")["how"] == (Kind.KILL if kind is Kind.ZOMBIE else kind)
    layers = {Fault(Kind.KILL, seed).model_args("m")["layer"] for seed in range(100)}
    assert layers == set(range(LAYERS))


def test_kinds_take_turns() -> None:
    planned = faults((Kind.KILL, Kind.HANG), 5, seed=10)
    assert [fault.kind for fault in planned] == [Kind.KILL, Kind.HANG, Kind.KILL, Kind.HANG, Kind.KILL]
    assert [fault.seed for fault in planned] == [10, 11, 12, 13, 14]


def test_the_table_counts_by_kind(tmp_path: Path) -> None:
    trials = [
        Trial(Fault(Kind.KILL, 0), 3.0, aborted=1, resumed=False, met=True, equal=True, ended="", lost=2),
        Trial(Fault(Kind.KILL, 1), 5.0, aborted=2, resumed=False, met=True, equal=False, ended="stalled", lost=3),
        Trial(Fault(Kind.ZOMBIE, 2), 4.0, aborted=1, resumed=True, met=True, equal=True, ended="", late_writes=9),
        Trial(Fault(Kind.HANG, 3), 4.0, aborted=0, resumed=False, met=False, equal=True, ended=""),
        Trial(Fault(Kind.ZOMBIE, 4), 4.0, aborted=1, resumed=False, met=True, equal=True, ended="", wrong=("two",)),
    ]
    assert table(trials).splitlines()[2:] == [
        "| kill | 2 | 1 | 2 | 3 | 0 | 0 | 0 | 4.0 |",
        "| zombie | 2 | 2 | 1 | 0 | 9 | 1 | 1 | 4.0 |",
    ]
    assert [trial.passed for trial in trials] == [True, False, True, False, False]
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(asdict(trial)) + "\n" for trial in trials))
    assert logged(log) == trials
