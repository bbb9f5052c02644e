import math
import random

import numpy
import pytest

from planner.hulls import Rests, corners, weights


@pytest.mark.parametrize("seed", range(20))
def test_what_is_done_by_a_time_costs_at_least_the_rate_that_its_hull_says(seed):
    generator = random.Random(seed)
    at = weights(generator.uniform(0.1, 10.0))
    nodes = [
        [(generator.uniform(0.5, 5.0), generator.uniform(1.0, 9.0) * 10**scale) for _ in range(30)]
        for scale in (-1, 0, 1)
    ]
    sums = numpy.array([[min(w * rate + time for rate, time in points) for points in nodes] for w in at])
    least = numpy.array([min(rate for rate, _ in points) for points in nodes])
    rests = Rests(sums, at, least, corners(sums, at, least)[1])
    for node, points in enumerate(nodes):
        for _, until_s in points:
            bound = float(rests.rate(numpy.array([node]), numpy.array([until_s]))[0])
            lines = [(row[node] - until_s) / w for row, w in zip(sums[1:], at[1:], strict=True)]
            true = min(rate for rate, time in points if time <= until_s)
            assert bound <= true * (1 + 1e-12)
            assert bound == pytest.approx(max(least[node], *lines), rel=1e-9), "no line says more"
        assert rests.fastest[node] == min(time for _, time in points)


def test_of_a_node_that_no_plan_reaches_nothing_is_fast_enough():
    at = weights(1.0)
    sums = numpy.array([[2.0 + w, math.inf] for w in at])
    least = numpy.array([1.0, 0.0])
    rests = Rests(sums, at, least, corners(sums, at, least)[1])
    assert rests.fastest.tolist() == [2.0, math.inf]
    assert rests.rate(numpy.array([0]), numpy.array([2.0])).tolist() == pytest.approx([1.0])
