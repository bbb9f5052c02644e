import json

import pytest

from cli.main import main
from runtime.schedule import Instruction, Op, gang_programs
from tests.manifests import write_project


@pytest.fixture
def manifest(tmp_path):
    return write_project(tmp_path, layers=[1, 1], replicas=[1, 2], schedule="1f1b", recompute=[True, False])


def test_the_schedule_is_drawn_in_80_columns(manifest, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["schedule", str(manifest)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "example: 1f1b, 2 stages, 4 micro-batches"
    assert lines[2].startswith("stage 0     F0 F1 F2 B0 B0 F3 ")
    assert " ".join(lines).endswith("by stage: 3 (inputs only), 1")
    assert max(map(len, lines)) <= 80


def test_as_json_and_svg(manifest, tmp_path, capsys):
    picture = tmp_path / "out" / "schedule.svg"
    assert main(["schedule", str(manifest), "--svg", str(picture), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stages"] == [
        {"replicas": 1, "kept_micro_batches": 3, "recompute": True},
        {"replicas": 2, "kept_micro_batches": 1, "recompute": False},
    ]
    assert {"F0", "B3", "R", "U"} <= {event["instruction"] for event in told["timeline"]}
    assert picture.read_text().startswith("<svg")


def test_a_picture_among_the_shipped_files_is_refused(manifest, capsys):
    assert main(["schedule", str(manifest), "--svg", str(manifest.parent / "source" / "a.svg")]) == 2
    assert "with --svg" in capsys.readouterr().err


def test_programs_that_do_not_fit_together_are_told(manifest, capsys, monkeypatch):
    def lossy(schedule, replicas, micro_batches):
        lost = Instruction(Op.SEND_ACTIVATION, 1)
        programs = gang_programs(schedule, replicas, micro_batches)
        return {worker: tuple(i for i in program if i != lost) for worker, program in programs.items()}

    monkeypatch.setattr("planner.timelines.gang_programs", lossy)
    assert main(["schedule", str(manifest)]) == 1
    assert "RF1 is sent by nobody" in capsys.readouterr().err


def test_another_profile_is_refused(manifest, tmp_path, capsys):
    assert main(["schedule", str(manifest), "--profile", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
