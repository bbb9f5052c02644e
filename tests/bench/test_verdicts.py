"""What wins and what loses, of plans that are numbers only."""

import pytest

from bench.verdicts import Case, Space, beside
from planner.baselines import Planned


def way(seconds: float, usd: float) -> Planned:
    return Planned("ours", "", 1, seconds, usd, 1_000 * seconds, 1_000 * usd)


def test_beside_theirs_stand_the_fastest_for_no_more_and_the_cheapest_as_fast():
    found = beside(way(10, 1.0), [way(4, 1.1), way(5, 1.0), way(8, 0.6), way(12, 0.3)])
    assert (found.fastest, found.cheapest) == (way(5, 1.0), way(8, 0.6))
    assert (found.speedup, found.cost_ratio) == (2.0, 0.6)
    assert found.won and not found.lost


def test_an_equal_plan_is_neither_won_nor_lost():
    found = beside(way(10, 1.0), [way(10, 1.0), way(2, 5.0)])
    assert (found.speedup, found.cost_ratio, found.won, found.lost) == (1.0, 1.0, False, False)


def test_a_case_is_lost_by_how_much_the_nearest_plan_is_worse():
    found = beside(way(10, 1.0), [way(5, 1.1), way(20, 0.1)])
    assert found.lost and not found.won
    assert (found.speedup, found.cost_ratio) == (pytest.approx(1 / 1.1), pytest.approx(1.1))


def test_the_balanced_plan_gives_the_figures_and_any_plan_loses_the_case():
    lost = beside(way(100, 0.1), [way(110, 0.09)])
    won = beside(way(10, 0.9), [way(5, 0.9)])
    case = Case("m_16", {Space.EXACT: (won,), Space.WIRE: (won,), Space.FULL: (lost, won)}, (), float("inf"))
    assert case.balanced() is won and case.lost() and not case.won()
    assert case.won(Space.EXACT) and not case.lost(Space.EXACT)
    figures = case.figures()
    assert (figures["m_16_speedup"], figures["m_16_gap"], figures["m_16_published_plans_beaten"]) == (2.0, 1.0, 1)
    assert figures["m_16_exact_least_speedup"] == 2.0 and figures["m_16_least_speedup"] < 1
    assert "LOST" in next(case.lines())
