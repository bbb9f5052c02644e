"""init, profile, plan and explain, as a person runs them."""

import json

import pytest

from cli.main import main


@pytest.fixture
def job(tmp_path, capsys):
    assert main(["init", str(tmp_path / "mine")]) == 0
    capsys.readouterr()
    return tmp_path / "mine" / "job.toml"


def test_from_init_to_explain(job, capsys):
    folder = job.parent
    assert main(["profile", str(job), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["layers"]) == 5
    assert main(["plan", str(job), "--profile", str(folder / "profile.json"), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["manifest"] == str(folder / "manifest.json")
    assert json.loads((folder / "manifest.json").read_text())["name"] == "my-job"
    assert main(["explain", str(folder / "manifest.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["next_best"] is not None
    assert main(["explain", str(folder / "manifest.json")]) == 0
    assert "memory of one worker" in capsys.readouterr().out
    assert main(["explain", str(folder / "manifest.json"), "--markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("### Plan of `my-job` on aws-lambda\n")
    assert text.count("<details>") == text.count("</details>") == 3
    assert f"{told['run_bill']['total_usd']:.3g} USD" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, "a table's rows have equal columns"
    for stage in told["stages"]:
        assert f"| {stage['index']} | " in text and f"{stage['memory_mb']:,}" in text


def test_init_overwrites_nothing(job, capsys):
    job.write_text("mine")
    assert main(["init", str(job.parent)]) == 2
    assert "job.toml exists" in capsys.readouterr().err
    assert job.read_text() == "mine"


def test_missing_factory_is_the_users_input(job, capsys):
    job.write_text(job.read_text().replace("model:build", "model:nothing"))
    assert main(["plan", str(job)]) == 2
    assert "'nothing' does not exist" in capsys.readouterr().err


def test_unknown_platform(job, capsys):
    assert main(["plan", str(job), "--platform", "moon", "--json"]) == 2
    assert "moon" in json.loads(capsys.readouterr().out)["error"]


def test_an_output_that_is_a_folder(job, capsys):
    assert main(["profile", str(job), "-o", str(job.parent)]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init", "profile", "plan", "explain"])
def test_help_has_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    assert "example:" in capsys.readouterr().out


def test_a_manifest_among_the_shipped_files_is_refused(tmp_path, capsys):
    assert main(["init", str(tmp_path)]) == 0
    assert main(["plan", str(tmp_path / "job.toml"), "-o", str(tmp_path / "plan.json")]) == 2
    assert main(["profile", str(tmp_path / "job.toml"), "-o", str(tmp_path / "figures.json")]) == 2
    assert capsys.readouterr().err.count("would ship") == 2
