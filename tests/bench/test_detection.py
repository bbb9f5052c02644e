from pathlib import Path

from bench import detection


def test_the_worst_run_counts(monkeypatch):
    """Of workers that stop after 1, 2, 3 s, and after 4, 9, 11 s where some are in a long layer."""
    killed = []

    def measured(setting, layer_s, folder, victim):
        killed.append((layer_s, victim))
        assert not list(Path(folder).iterdir())
        return detection._Detected([1.0, 2.0, 3.0, 4.0, 9.0, 11.5][len(killed) - 1], 0.1 * len(killed))

    monkeypatch.setattr(detection, "_killed", measured)
    report = detection.run(detection.Setting(), progress=lambda text: None)
    assert killed == [(0.02, 7), (0.02, 6), (0.02, 5), (600.0, 7), (600.0, 6), (600.0, 5)]
    assert report.figures["stopped_s"] == 3.0 and report.figures["stopped_median_s"] == 2.0
    assert report.figures["in_long_layer_stopped_s"] == 11.5
    assert report.to_dict()["goals"]["in_long_layer_stopped_s"] == 11.0
    assert not report.met


def test_a_killed_worker_in_a_gang_of_three_is_noticed(tmp_path):
    setting = detection.Setting(layers=(1, 1), replicas=(1, 2))
    found = detection._killed(setting, setting.layer_s, tmp_path, victim=2)
    assert 0 < found.stopped_s < setting.long_layer_s / 10 and found.recovery_s > 0
