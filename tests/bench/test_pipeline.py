from bench import pipeline
from bench.report import Goal


def test_all_figures_are_measured_and_plausible():
    setting = pipeline.Setting(
        micro_batches=4,
        micro_batch=1,
        context=16,
        width=16,
        mib_s=8.0,
        latency_s=0.002,
        iterations=2,
        warm_up=1,
        repeats=1,
    )
    report = pipeline.run(setting, progress=lambda text: None)
    figures = report.figures
    assert report.goals == {
        "iteration_over_critical_path": Goal(most=1.10),
        "sync_hidden_fraction": Goal(least=0.60),
        "gets_per_object": Goal(most=1.5),
    }
    assert figures["iteration_over_critical_path"] >= 1, "nothing is faster than its critical path"
    assert figures["sync_hidden_fraction"] <= 1 and figures["gets_per_object"] >= 1
    assert all(0 < figures[f"{lane}_lane_use"] < 1 for lane in ("upload", "download", "compute"))
