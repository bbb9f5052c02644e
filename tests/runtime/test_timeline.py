import runtime.timeline
from runtime.schedule import Lane
from runtime.timeline import Recorder


def kept(recorder):
    return sorted({event.iteration for event in recorder.events})


def test_whole_iterations_are_kept_the_first_and_the_last(monkeypatch):
    monkeypatch.setattr(runtime.timeline, "RECORDED_EVENTS", 100)
    recorder = Recorder(1, 2)
    for iteration in range(50):
        for index in range(10):
            recorder.add(Lane.COMPUTE, iteration, f"F{index}", start_s=0.0)
    iterations = kept(recorder)
    assert iterations == [0, 1, 2, 3, 4, 44, 45, 46, 47, 48, 49], "the last one came when there was room for it"
    assert len(recorder.events) == 110
    assert (recorder.events[0].stage, recorder.events[0].replica) == (1, 2)


def test_what_comes_late_counts_only_where_its_iteration_is_kept(monkeypatch):
    monkeypatch.setattr(runtime.timeline, "RECORDED_EVENTS", 10)
    recorder = Recorder(0, 0)
    for iteration in range(20):
        for _ in range(4):
            recorder.add(Lane.COMPUTE, iteration, "F0", start_s=0.0)
    before = kept(recorder)
    recorder.add(Lane.UPLOAD, 7, "SF0", start_s=0.0)
    recorder.add(Lane.UPLOAD, 19, "SF0", start_s=0.0)
    assert 7 not in before and kept(recorder) == before
    assert sum(event.iteration == 19 for event in recorder.events) == 5


def test_an_iteration_larger_than_the_limit_is_whole(monkeypatch):
    monkeypatch.setattr(runtime.timeline, "RECORDED_EVENTS", 10)
    recorder = Recorder(0, 0)
    for iteration in range(5):
        for _ in range(30):
            recorder.add(Lane.UPLOAD, iteration, "R", start_s=0.0)
    assert kept(recorder) == [3, 4]
    assert len(recorder.events) == 60
