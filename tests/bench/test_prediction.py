import pytest

import planner.machine
from bench import prediction
from bench.prediction import EXAMPLES, Pair
from bench.prediction_cases import CASES, LAYERS, MOST_SAMPLES, Case, Part, drawn
from planner.job import load_job
from runtime.dataset import load_dataset
from runtime.records import Traffic
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm

SMALL = Case(
    "small", "digits", 16, 2, (Part(2), Part(3, 2, True)), algorithm=Algorithm.ALL_TO_ALL, mib_s=16.0, latency_s=0.002
)


@pytest.fixture(scope="module")
def report():
    setting = prediction.Setting(cases=(SMALL,), iterations=2, warm_up=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner.machine, "REPEATS", 2)
        return prediction.run(setting, progress=lambda text: None)


def test_requests_and_bytes_are_as_predicted(report):
    assert report.figures["mismatches"] == 0, "every one, whatever the machine"


def test_all_figures_are_there_and_plausible(report):
    figures = report.figures
    assert {"max_time_error", "mean_time_error", "max_memory_error"} <= figures.keys() and figures["cases"] == 1
    assert figures["small_predicted_s"] > 0 and figures["small_measured_s"] > 0
    assert 0 <= figures["max_memory_error"] < 1
    assert set(report.goals) == {"max_time_error", "max_memory_error", "mismatches", "cases"}


def test_cases_differ_in_what_a_plan_can_differ_in():
    assert {case.example for case in CASES} == {"digits", "chargpt"} and len(CASES) >= 6
    assert len({case.algorithm for case in CASES}) == len(Algorithm)
    assert len({case.schedule for case in CASES}) == 3
    assert any(part.recompute for case in CASES for part in case.stages)
    assert len({tuple(part.layers for part in case.stages) for case in CASES}) >= 5


def test_those_drawn_are_the_same_for_a_seed_and_plans_of_the_examples():
    cases = drawn(3, 40)
    assert cases[:7] == drawn(3, 7) and cases[0] != drawn(4, 1)[0]
    assert len({case.name for case in cases}) == 40
    for case in cases:
        assert sum(part.layers for part in case.stages) == LAYERS[case.example]
        assert case.micro_batch * case.micro_batches <= MOST_SAMPLES
    assert {case.example for case in cases} == set(LAYERS) and {case.schedule for case in cases} == set(ScheduleName)
    assert {case.algorithm for case in cases} == set(Algorithm)
    job = load_job(EXAMPLES / "digits" / "job.toml")
    assert load_dataset(job.data, EXAMPLES / "digits").train_samples >= 12 * MOST_SAMPLES


def test_memory_is_within_a_tenth_or_thirty_megabytes():
    def error(predicted_mb, measured_mb):
        nothing = Traffic()
        return Pair(SMALL, 1.0, 1.0, [predicted_mb], [measured_mb], nothing, nothing, 0.0, [], 0).memory_error

    assert error(130.0, 100.0) == pytest.approx(0.1), "30 MB"
    assert error(1100.0, 1000.0) == pytest.approx(0.1), "a tenth"
    assert error(1100.0, 900.0) > 0.2
