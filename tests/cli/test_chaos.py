"""What ``funcpipe chaos`` prints; runs of it are in tests/embedded."""

import pytest

from chaos.faults import Kind
from cli.chaos import _table
from cli.main import main


def trial(kind: str, **fields: object) -> dict[str, object]:
    usual = {"fault": {"kind": kind, "seed": 1}, "equal": True, "passed": True, "aborted": 0, "lost": 0, "seconds": 8.0}
    usual |= {"late_writes": 0, "refused_outcomes": 0, "resumed": False, "stopped_s": None}
    return {**usual, **fields}


def test_the_table_counts_by_kind() -> None:
    trials = [
        trial("kill", aborted=1, lost=3, stopped_s=1.2, late_writes=4),
        trial("zombie", aborted=1, refused_outcomes=1, stopped_s=2.0),
        trial("kill", aborted=2, equal=False, passed=False, seconds=10.0, stopped_s=0.7, resumed=True),
        trial("hang"),
    ]
    assert _table(trials).splitlines()[2:] == [
        "| kill | 2 | 1 | 2 | 3 | 4 | 0 | 1 | 1 | 1.2 | 9.0 |",
        "| zombie | 1 | 1 | 1 | 0 | 0 | 1 | 0 | 0 | 2.0 | 8.0 |",
        "| hang | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 |  | 8.0 |",
    ]


def test_all_kinds_are_listed_without_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--kind", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [kind.value for kind in Kind]
    assert main(["chaos"]) == 2
    assert "Which plan?" in capsys.readouterr().err
