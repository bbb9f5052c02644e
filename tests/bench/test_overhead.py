import pytest

from bench import overhead
from bench.report import Goal


def test_all_figures_are_measured():
    setting = overhead.Setting(stages=(2,), iterations=3, warm_up=1, repeats=1, pipeline_micro_batches=2)
    report = overhead.run(setting, progress=lambda text: None)
    assert set(report.goals) == {"one_stage_over_plain_torch", "throughput_over_gloo"}
    assert report.figures["throughput_over_gloo"] == report.figures["s2_throughput_over_gloo"]
    assert all(figure > 0 for figure in report.figures.values())
    assert report.figures["s2_gets_per_object"] >= 1
    assert report.to_dict()["goals"] == {"one_stage_over_plain_torch": 1.03, "throughput_over_gloo": 0.8}


@pytest.mark.parametrize(
    ("goal", "text", "limit", "met", "missed"),
    [
        (Goal(most=1.1), "at most 1.1", 1.1, 1.1, 1.2),
        (Goal(least=0.8), "at least 0.8", 0.8, 5.0, 0.7),
        (Goal(most=1.1, least=0.9), "0.9 to 1.1", 1.1, 0.9, 0.8),
    ],
)
def test_a_goal_has_an_upper_or_a_lower_limit_or_both(goal, text, limit, met, missed):
    assert (str(goal), goal.limit) == (text, limit)
    assert goal.met_by(met) and not goal.met_by(missed)
