"""``funcpipe run`` and what follows it, on real processes and a real (small) model."""

import json

import pytest
import torch
from safetensors.torch import load_file

import cli.progress
import launch.staging
from cli.main import main
from tests.cli.project import write_training_project


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test is a project folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_trains_reports_and_exports(folder, capsys):
    write_training_project(folder / "p", epochs=10, segment_iterations=12, replicas=[2, 1], optimizer={"name": "adam"})
    assert main(["run", "p/manifest.json", "--run", "first", "--latency-ms", "0.1"]) == 0
    shown = capsys.readouterr().out
    assert "first: done, 20 iterations, last loss" in shown
    assert "first: 20/20 iterations, loss" in shown and "segment 2/2, workers 2/2 1/1" in shown
    assert "\x1b" not in shown

    assert main(["watch", "first", "--json"]) == 0
    captured = capsys.readouterr()
    status = json.loads(captured.out)
    assert (status["state"], status["iterations_done"], status["failures"]) == ("done", 20, [])
    assert "20/20 iterations" in captured.err

    assert main(["report", "first", "--json", "--output", "out/report.json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "out" / "report.json").read_text()) == report
    assert report["evaluation"]["samples"] == 32 and 0 <= report["evaluation"]["accuracy"] <= 1
    assert report["timing"]["measured_iteration_s"] > 0
    assert all(stage["measured_mb"] > 50 for stage in report["memory"])
    # 2 segments of 3 workers; 20 iterations send 4 micro-batches over one boundary, there and back.
    lines = {line["item"]: line["quantity"] for line in report["bill"]["lines"]}
    assert lines["Lambda requests"] == 6 and lines["S3 PUT"] >= report["traffic"]["puts"] > 20 * 4 * 2

    assert main(["export", "first", "-o", "out/w.safetensors"]) == 0
    assert "as of iteration 20 of run first" in capsys.readouterr().out
    weights = load_file(folder / "out" / "w.safetensors")
    assert set(weights) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    inputs, model = torch.zeros(2, 4), torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh())
    model.load_state_dict({name: weights[name] for name in ("0.weight", "0.bias")})
    assert model(inputs).shape == (2, 8)

    assert main(["stop", "first"]) == 0
    assert "had ended already" in capsys.readouterr().out

    assert main(["run", "p/manifest.json", "--run", "first"]) == 2
    assert "run id 'first' has been used" in capsys.readouterr().err


def test_the_reports_accuracy_is_that_of_the_exported_weights(folder, capsys):
    write_training_project(folder / "p", epochs=10)
    assert main(["run", "p/manifest.json", "--run", "first"]) == 0
    assert main(["export", "first"]) == 0
    capsys.readouterr()
    assert main(["report", "first", "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)["evaluation"]
    linear, tanh, last = torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    model = torch.nn.Sequential(linear, tanh, torch.nn.Dropout(0.1), last).eval()
    model.load_state_dict(load_file("weights.safetensors"))
    inputs = torch.randn(96, 4, generator=torch.Generator().manual_seed(7))
    targets = inputs[:, :3].argmax(1)
    output = model(inputs[64:])
    assert evaluation["accuracy"] == pytest.approx((output.argmax(1) == targets[64:]).double().mean().item())
    assert evaluation["loss"] == pytest.approx(torch.nn.functional.cross_entropy(output, targets[64:]).item(), rel=1e-5)


def test_a_worker_that_raises_is_shown_with_its_place_and_traceback(folder, capsys):
    write_training_project(folder / "p", model_args={"fail": True})
    assert main(["run", "p/manifest.json", "--run", "bad"]) == 1
    shown = capsys.readouterr().out
    place = "stage 1, replica 0, iteration 0, instruction F0 (segment 0, attempt 0, exception):"
    for text in (place, "RuntimeError: layer on", "| Traceback", "model.py", "bad: failed"):
        assert text in shown
    assert "\x1b" not in shown
    assert main(["watch", "bad"]) == 1
    assert place in capsys.readouterr().out
    assert main(["report", "bad"]) == 0
    shown = capsys.readouterr().out
    for text in (place, "no trained weights are saved"):
        assert text in " ".join(shown.split()), "lines break where the terminal ends"


class PressedCtrlC:
    """A progress view in front of which someone presses Ctrl-C once it shows an iteration."""

    def __init__(self, screen) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def show(self, status) -> None:
        if status.iterations_done:
            raise KeyboardInterrupt


def test_ctrl_c_stops_the_run_and_says_so(folder, capsys, monkeypatch):
    write_training_project(folder / "p", epochs=2000, segment_iterations=50)
    monkeypatch.setattr("cli.run.ProgressView", PressedCtrlC)
    assert main(["run", "p/manifest.json", "--run", "cut"]) == 130
    message = capsys.readouterr().err
    assert "run cut was stopped: no worker runs any more" in message
    assert main(["watch", "cut", "--json"]) == 1
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "stopped" and status["message"] == "stopped by Ctrl-C"
    assert status["failures"] == []


def test_ctrl_c_while_watching_leaves_the_run(folder, capsys, monkeypatch):
    write_training_project(folder / "p", epochs=1)
    assert main(["run", "p/manifest.json", "--run", "on"]) == 0
    monkeypatch.setattr("cli.watch.ProgressView", PressedCtrlC)
    assert main(["watch", "on"]) == 130
    assert "stopped watching; run on goes on" in capsys.readouterr().err


def test_ctrl_c_while_preparing_starts_nothing(folder, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    write_training_project(folder / "p")
    monkeypatch.setattr(launch.staging, "stage_run", interrupt)
    assert main(["run", "p/manifest.json", "--run", "never"]) == 130
    assert "run never was NOT started" in capsys.readouterr().err
    assert main(["watch", "never"]) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "model:absent"}, "'absent' does not exist"),
        ({"model": "absent:build"}, "there is no module 'absent'"),
        ({"data": "data:absent"}, "'absent' does not exist"),
        ({"dataset_sha256": "0" * 64}, "returns other data than when the plan was made"),
        ({"source_hash": "0" * 64}, "the source has changed since the plan was made"),
    ],
)
def test_a_plan_that_does_not_fit_its_source_exits_2(folder, capsys, options, said):
    write_training_project(folder / "p", **options)
    assert main(["run", "p/manifest.json", "--run", "x"]) == 2
    assert said in capsys.readouterr().err
    assert main(["watch", "x"]) == 2
    assert "no run 'x' is known" in capsys.readouterr().err


def test_an_edited_manifest_exits_2(folder, capsys):
    path = write_training_project(folder / "p")
    good = path.read_text()
    for old, new, said in (
        ('"memory_mb": 1024', '"memory_mb": 20000', "stages.0.memory_mb"),
        ('"schema_version": 1', '"schema_version": 99', "schema_version is 99"),
        ('"name"', '"nam"', "name"),
        ("{", "[", "not valid JSON"),
    ):
        path.write_text(good.replace(old, new, 1))
        assert main(["run", "p/manifest.json"]) == 2
        assert said in capsys.readouterr().err
    assert main(["run", "absent.json"]) == 2
    assert "absent.json: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--upload-mib-s", "0"], "--upload-mib-s"),
        (["--latency-ms", "-1"], "--latency-ms"),
        (["--latency-ms", "nan"], "--latency-ms"),
        (["--run", "Not An Id"], "run id 'Not An Id'"),
        (["--store", "p/manifest.json"], "cannot be written"),
    ],
)
def test_options_that_cannot_be_used_exit_2(folder, capsys, arguments, said):
    write_training_project(folder / "p")
    assert main(["run", "p/manifest.json", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["watch", "report", "export", "stop"])
def test_an_unknown_run_exits_2(name, capsys):
    assert main([name, "nobody", "--json"]) == 2
    assert "no run 'nobody' is known" in json.loads(capsys.readouterr().out)["error"]


def test_a_run_whose_store_is_gone_exits_2(folder, capsys):
    write_training_project(folder / "p", epochs=1)
    assert main(["run", "p/manifest.json", "--run", "lost", "--store", "elsewhere"]) == 0
    (folder / "elsewhere").rename(folder / "moved")
    capsys.readouterr()
    assert main(["report", "lost"]) == 2
    assert "is gone" in capsys.readouterr().err


def test_amounts_of_time_and_money_are_short():
    assert [cli.progress.duration(s) for s in (0.4, 59.4, 60, 3599, 3600, 7384)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "59 min 59 s",
        "1 h 00 min",
        "2 h 03 min",
    ]
    assert [cli.progress.usd(x) for x in (0.0, 0.00001, 0.0123, 12.345)] == [
        "0.000000 USD",
        "0.000010 USD",
        "0.012 USD",
        "12.35 USD",
    ]


def test_what_is_written_must_not_change_the_model_s_code(folder, capsys):
    write_training_project(folder / "p", epochs=1)
    assert main(["run", "p/manifest.json", "--run", "first"]) == 0
    capsys.readouterr()
    for command in (["export", "first"], ["report", "first"]):
        assert main([*command, "-o", "p/source/new.json"]) == 2
        assert "would ship" in capsys.readouterr().err
    assert main(["export", "first", "-o", "p/source/build/w.safetensors"]) == 0
    assert main(["run", "p/manifest.json", "--run", "second"]) == 0


def test_places_that_cannot_be_written_are_the_user_s_to_name(folder, capsys):
    write_training_project(folder / "p", epochs=1)
    (folder / "file").write_text("")
    assert main(["run", "p/manifest.json", "--run", "first", "--store", "file/store"]) == 2
    assert "Name a folder with --store" in capsys.readouterr().err
    assert main(["run", "p/manifest.json", "--run", "first"]) == 0
    capsys.readouterr()
    for output in ("file/w.safetensors", "p"):
        assert main(["export", "first", "-o", output]) == 2
        assert "Choose another file with --output" in capsys.readouterr().err
