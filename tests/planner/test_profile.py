"""What is measured of a job: which sizes, which thread counts."""

import pytest

from planner.job import Job
from planner.profile import sizes_to_measure, thread_counts
from runtime.errors import UserInputError


def job(micro_batch_size: int, global_batch_size: int) -> Job:
    return Job.model_validate(
        {
            "name": "tiny",
            "model": {"factory": "model:build"},
            "data": {"factory": "data:load"},
            "training": {
                "loss": "cross_entropy",
                "optimizer": {"name": "sgd", "lr": 0.1},
                "global_batch_size": global_batch_size,
                "micro_batch_size": micro_batch_size,
                "epochs": 1,
            },
        }
    )


@pytest.mark.parametrize(
    ("micro", "whole", "samples", "asked", "sizes", "held_out"),
    [
        (8, 64, 1000, None, [4, 8, 16], 12),
        (8, 8, 1000, None, [2, 4, 8], 6),
        (1, 1, 1000, None, [1], None),
        (8, 64, 1000, [], [8], None),
        (8, 64, 1000, [2, 32], [2, 8, 32], 20),
        (8, 64, 5, None, [5], None),
    ],
)
def test_sizes(micro, whole, samples, asked, sizes, held_out):
    assert sizes_to_measure(job(micro, whole), samples, asked) == (sizes, held_out)


@pytest.mark.parametrize(("asked", "said"), [([128], "asked for: 128"), ([9], "room for one")])
def test_sizes_that_cannot_be_measured_are_refused(asked, said):
    with pytest.raises(UserInputError, match=said):
        sizes_to_measure(job(8, 64), 1000, asked)


def test_thread_counts_go_up_to_a_functions_vcpus():
    assert [thread_counts(cores) for cores in (1, 2, 3, 6, 64)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 6], [1, 2, 4, 6]]
