import random
from itertools import permutations

import numpy
import pytest

from planner.skyline import rounded, undominated


@pytest.mark.parametrize(("seed", "rivals"), [(seed, rivals) for seed in range(6) for rivals in (1, 3)])
def test_rows_stay_that_fewer_than_so_many_others_are_as_good_as(seed, rivals):
    generator = numpy.random.default_rng(seed)
    # Few values, so that many rows are equal in some figures or in all, and one figure that says nothing.
    rows = numpy.column_stack([generator.integers(0, 12, (1_500, 3)) * (1e-6, 1.0, 1e6), numpy.full(1_500, 7.0)])
    expected = []
    for number, row in enumerate(rows):
        good = (rows <= row).all(axis=1)
        equal = (rows == row).all(axis=1)
        if numpy.count_nonzero(good & ~equal) + numpy.count_nonzero(equal[:number]) < rivals:
            expected.append(number)
    assert undominated(rows, rivals).tolist() == expected
    assert len(expected) < 1_000


def test_all_rows_stay_where_each_is_best_in_something():
    figures = numpy.arange(3_000.0)
    assert len(undominated(numpy.column_stack([figures, -figures]), 1)) == 3_000


def test_comparing_ends_when_it_is_late():
    rows = numpy.random.default_rng(1).random((2_000, 3))
    looks = []
    assert undominated(rows, 1, late=lambda: len(looks) == 2 or looks.append(0)) is None
    assert len(looks) == 2
    assert undominated(rows, 1) is not None


@pytest.mark.parametrize("seed", range(5))
def test_of_equal_stages_summed_in_another_order_one_is_kept(seed):
    generator = random.Random(seed)
    stages = [[generator.uniform(0.01, 10.0) for _ in range(8)] for _ in range(6)]
    sums = numpy.array([sum(map(numpy.array, order)) for order in permutations(stages)])
    assert len(numpy.unique(sums, axis=0)) > 1, "the last bits differ"
    assert len(undominated(sums, 1)) > 1
    assert len(undominated(rounded(sums), 1)) == 1


def test_what_differs_by_more_than_the_last_bits_stays_apart():
    one = numpy.array([[1.0, 3.7], [1.0 + 1e-11, 3.7 - 1e-11]])
    assert len(undominated(rounded(one), 1)) == 2
    assert rounded(one) == pytest.approx(one, rel=1e-12)
    assert rounded(numpy.zeros((1, 2))).tolist() == [[0.0, 0.0]]
