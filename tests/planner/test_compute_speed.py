"""Compute speed by memory size: between what was measured, and never better than it."""

import pytest

from planner.compute_speed import by_memory, by_vcpus


def test_below_one_vcpu_time_is_shared_and_above_it_amdahl_holds():
    assert by_vcpus([1, 2], [1.0, 0.6], 0.5) == 2.0
    assert by_vcpus([1, 2], [1.0, 0.6], 2) == pytest.approx(0.6)
    assert by_vcpus([1, 2], [1.0, 0.6], 4) == pytest.approx(1 - 0.8 + 0.8 / 4)
    assert by_vcpus([1], [1.0], 4) == 1.0
    assert by_vcpus([1, 2], [0.0, 0.0], 4) == 0.0


def test_all_thread_counts_tell_the_parallel_share():
    took = [1 - 0.7 + 0.7 / count for count in (1, 2, 4, 6)]
    assert by_vcpus([1, 2, 4, 6], took, 3) == pytest.approx(1 - 0.7 + 0.7 / 3)


def test_threads_that_make_slower_promise_nothing():
    assert by_vcpus([1, 2], [1.0, 1.5], 4) == 1.0


def test_by_memory_speed_is_linear_between_and_nothing_is_promised_outside():
    sizes, took = [1_000, 2_000, 4_000], [4.0, 2.0, 1.0]
    assert [by_memory(sizes, took, size) for size in sizes] == took
    assert by_memory(sizes, took, 3_000) == pytest.approx(1 / 0.75)
    assert by_memory(sizes, took, 500) == 8.0
    assert by_memory(sizes, took, 10_000) == 1.0


def test_more_memory_never_makes_slower():
    assert by_memory([1_000, 2_000, 4_000], [2.0, 1.0, 1.3], 4_000) == 1.0
