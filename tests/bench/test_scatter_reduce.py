import json

import pytest

from bench.__main__ import main
from bench.report import Goal, Report
from bench.scatter_reduce import Setting, run
from runtime.synchronisation import Algorithm


@pytest.fixture(scope="module")
def small() -> Report:
    """Two processes, little data, a fast link: it shows that everything runs, not how fast."""
    return run(Setting(replicas=(2,), gradient_mib=1, mib_s=50, latency_s=0.002, repeats=2), lambda text: None)


def test_the_figures_that_must_exist(small):
    for name in ("n2_piece_over_bound", "n2_pipelined_over_formula", "n2_plain_over_formula"):
        assert small.figures[name] > 0
        assert name in small.goals


def test_no_algorithm_is_faster_than_the_bound(small):
    """Timing goes the right way: throttled bytes cannot arrive earlier than the link lets them."""
    bound = Setting(gradient_mib=1, mib_s=50).exchange(2).bound_s
    assert all(figure >= bound for name, figure in small.figures.items() if name.endswith("_s"))
    assert all(small.figures[f"n2_{name}_gets_per_object"] >= 1 for name in ("piece", "pipelined", "plain"))


def test_goals_and_whether_they_are_met():
    report = Report("x", {"a": 1.05, "b": 0.5}, {"a": Goal(1.1), "b": Goal(most=1.1, least=0.9)}, {})
    assert not report.met
    said = report.to_dict()
    assert (said["goals"], said["least"]) == ({"a": 1.1, "b": 1.1}, {"b": 0.9})
    assert [line.endswith("NOT MET") for line in report.lines()[1:3]] == [False, True]
    assert Report("x", {"a": 1.05}, {"a": Goal(1.1)}, {}).met


def test_json_is_one_object_and_the_status_says_that_it_ran(capsys):
    options = ["--replicas", "2", "--mib", "0.5", "--mib-s", "50", "--latency-ms", "1", "--repeats", "1", "--json"]
    assert main(["scatter-reduce", *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bench"] == "scatter-reduce"
    assert isinstance(answer["met"], bool)
    assert answer["machine"]["cores"] >= 1
    assert answer["goals"].keys() <= answer["figures"].keys()


def test_without_a_name_it_lists_what_there_is(capsys):
    assert main([]) == 0
    assert "scatter-reduce" in capsys.readouterr().out


def test_arguments_that_cannot_be_used_exit_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["scatter-reduce", "--replicas", "1"])
    assert ended.value.code == 2
    assert "must be at least 2 (given: 1)" in capsys.readouterr().err


def test_the_published_formulae():
    exchange = Setting(gradient_mib=64, mib_s=20, latency_s=0.02).exchange(4)
    whole = 3.2
    assert exchange.bound_s == pytest.approx(1.5 * whole)
    assert exchange.seconds(Algorithm.PLAIN) == pytest.approx(2.5 * whole + 4 * 0.02)
    assert exchange.seconds(Algorithm.PIPELINED) == pytest.approx(2 * whole + 6 * 0.02)
    assert exchange.bound_s < exchange.seconds(Algorithm.PIECE_PIPELINED) < 1.05 * exchange.bound_s
