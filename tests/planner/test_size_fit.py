"""Lines over the micro-batch size: exact where figures are lines, judged by what they are not fitted to."""

import pytest

from planner.size_fit import NEGLIGIBLE, default_sizes, fit, held_out_size, slope


@pytest.mark.parametrize(
    ("own", "most", "sizes", "held_out"),
    [
        (32, 128, [16, 32, 64], 48),
        (32, 32, [8, 16, 32], 24),
        (32, 40, [8, 16, 32], 24),
        (1, 100, [1, 2, 4], 3),
        (4, 64, [2, 4, 8], 6),
        (3, 3, [1, 3], 2),
        (2, 2, [1, 2], None),
        (1, 1, [1], None),
    ],
)
def test_sizes_around_the_jobs_own(own, most, sizes, held_out):
    assert default_sizes(own, most) == sizes
    assert held_out_size(sizes) == held_out


def test_a_line_is_found_exactly():
    assert slope(8, {4: 3.0 + 4 * 0.5, 8: 3.0 + 8 * 0.5, 16: 3.0 + 16 * 0.5}) == pytest.approx(0.5)


def test_a_slope_is_never_negative_nor_so_steep_that_nothing_is_left_at_size_0():
    assert slope(8, {4: 3.0, 8: 2.0, 16: 1.0}) == 0.0
    assert slope(8, {4: 0.1, 8: 2.0, 16: 90.0}) == 2.0 / 8


def figures(times, byte_counts=(100_000.0,)):
    return {"forward_s": list(times), "output_bytes": list(byte_counts)}


def test_the_error_is_that_of_the_size_held_out():
    lines = {size: figures([0.1 + 0.01 * size, 0.02 * size], [1e6 * size]) for size in (4, 8, 16)}
    # At 12 the first layer takes a fifth more than its line says, the second just that; bytes are off by 10%.
    lines[12] = figures([1.2 * 0.22, 0.24], [1.1 * 12e6])
    found = fit(8, 12, lines)
    assert found.per_sample["forward_s"] == pytest.approx([0.01, 0.02])
    assert found.errors["s"] == pytest.approx(0.2 * 0.22 / (1.2 * 0.22 + 0.24))
    assert found.errors["bytes"] == pytest.approx(0.1 / 1.1)
    misfit = found.worst["s"]
    assert (misfit.name, misfit.layer) == ("forward_s", 0)
    assert (misfit.by_line, misfit.measured) == pytest.approx((0.22, 0.264))


def test_what_no_plan_depends_on_counts_little():
    """A layer of microseconds that takes thrice as long at the size held out."""
    lines = {size: figures([1e-6 * size]) for size in (4, 8, 16)}
    lines[12] = figures([36e-6])
    assert fit(8, 12, lines).errors["s"] == pytest.approx(24e-6 / NEGLIGIBLE["s"])
