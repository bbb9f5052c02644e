"""init, profile, plan and explain, as a person runs them."""

import json
from pathlib import Path

import pytest

from cli.main import main


@pytest.fixture
def job(tmp_path, capsys):
    assert main(["init", str(tmp_path / "mine")]) == 0
    capsys.readouterr()
    return tmp_path / "mine" / "job.toml"


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> str:
    """A profile of the job that ``init`` writes, which is the same each time."""
    folder = tmp_path_factory.mktemp("measured")
    assert main(["init", str(folder / "mine")]) == 0
    path = folder / "profile.json"
    assert main(["profile", str(folder / "mine" / "job.toml"), "-o", str(path), "--micro-batch-sizes", "own"]) == 0
    return path.read_text()


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
    assert f"Proven: no other plan that was searched for is better by more than {told['gap']:.1%}.\n" in text
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


@pytest.mark.parametrize("command", ["init", "profile", "plan", "explain", "frontier", "compare", "diff"])
def test_help_has_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    assert "example:" in capsys.readouterr().out


def test_a_manifest_among_the_shipped_files_is_refused(tmp_path, capsys):
    assert main(["init", str(tmp_path)]) == 0
    assert main(["plan", str(tmp_path / "job.toml"), "-o", str(tmp_path / "plan.json")]) == 2
    assert main(["profile", str(tmp_path / "job.toml"), "-o", str(tmp_path / "figures.json")]) == 2
    assert capsys.readouterr().err.count("would ship") == 2


def test_frontier_compare_and_diff(job, capsys):
    folder = job.parent
    assert main(["profile", str(job)]) == 0
    capsys.readouterr()
    picture = folder / "build" / "frontier.svg"
    assert main(["frontier", str(job), "--plot", str(picture), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    times = [point["total_s"] for point in told["points"]]
    assert times == sorted(times) and told["tolerance"] <= 0.01
    assert picture.read_text().startswith("<svg")
    assert main(["frontier", str(job), "--plot", str(folder / "here.svg")]) == 2
    assert "would ship" in capsys.readouterr().err

    assert main(["compare", str(job), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {way["name"] for way in told["baselines"]} >= {"lambdaml", "hybrid-ps", "tpdmp", "funcpipe"}
    assert main(["compare", str(job)]) == 0
    assert "the whole run, as predicted" in capsys.readouterr().out

    plans = []
    for goal in ("time", "cost"):
        plans.append(str(folder / "build" / f"{goal}.json"))
        arguments = ["plan", str(job), "--profile", str(folder / "profile.json"), "-o", plans[-1], "--optimize", goal]
        assert main([*arguments, "--max-concurrency", "7"]) == 0
    fast, cheap = (json.loads(Path(plan).read_text()) for plan in plans)
    assert fast["max_concurrency"] == cheap["max_concurrency"] == 7
    capsys.readouterr()
    assert main(["diff", *plans, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ratios"]["usd_total"] == pytest.approx(
        cheap["predicted"]["usd_total"] / fast["predicted"]["usd_total"]
    )
    changed = {change["key"] for change in told["changes"]}
    assert bool(changed) == (fast["stages"] != cheap["stages"])
    assert main(["diff", plans[0], plans[0]]) == 0
    assert "the plans are the same" in capsys.readouterr().out
    assert main(["explain", plans[0], "--profile", str(folder / "profile.json"), "--job", str(job)]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--deadline", "0.001s"], "no plan within the job's limits meets the deadline"),
        (["--budget", "0.0000001"], "no plan within the job's limits stays within the budget"),
        (["--deadline", "soon"], "--deadline must be a positive number"),
        (["--budget", "-1"], "--budget must be a positive number"),
        (["--max-concurrency", "0"], "max_concurrency"),
    ],
)
def test_what_cannot_be_had_is_an_answer(job, measured, capsys, options, said):
    profile = str(job.parent / "profile.json")
    Path(profile).write_text(measured)
    assert main(["plan", str(job), "--profile", profile, *options, "--json"]) == 2
    assert said in json.loads(capsys.readouterr().out.strip().splitlines()[-1])["error"]
    assert not (job.parent / "manifest.json").exists()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400)])
def test_deadlines_are_read(text, seconds):
    from cli.plan import _seconds

    assert _seconds(text) == seconds


def test_a_platform_file_is_planned_for_and_explained_with(job, measured, capsys):
    from planner.platforms import FOLDER

    own = json.loads((FOLDER / "aws-lambda.json").read_text()) | {"name": "mine", "warning": "made up"}
    platform, profile = job.parent.parent / "mine.json", str(job.parent / "profile.json")
    platform.write_text(json.dumps(own))
    Path(profile).write_text(measured)
    planning = ["plan", str(job), "--profile", profile, "--platform"]
    assert main([*planning, str(platform)]) == 0
    assert "warning: made up" in capsys.readouterr().err
    manifest = str(job.parent / "manifest.json")
    assert main(["explain", manifest]) == 2
    assert "'mine'" in (said := capsys.readouterr().err) and "--platform" in said
    assert main(["explain", manifest, "--platform", str(platform), "--json"]) == 0
    items = [line["item"] for line in json.loads(capsys.readouterr().out)["run_bill"]["lines"]]
    assert {"Lambda init (x86_64)", "Lambda requests", "S3 storage", "CloudWatch Logs"} <= set(items)
    assert main(["schedule", manifest, "--profile", profile, "--platform", str(platform)]) == 0
    capsys.readouterr()

    del own["prices"]
    platform.write_text(json.dumps(own))
    assert main([*planning, str(platform)]) == 2
    assert "prices: Field required" in capsys.readouterr().err
    (job.parent / "profile.json").write_text('{"schema_version": 9}')
    assert main([*planning, "aws-lambda"]) == 2
    assert "schema_version is 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--micro-batch-sizes", "1,x"], "--micro-batch-sizes lists positive whole numbers (given: 1,x)"),
        (["--micro-batch-sizes", "0"], "given: 0"),
        (["--micro-batch-sizes", "100000"], "at most as many as a global batch"),
        (["--max-fit-error", "nan"], "--max-fit-error must be a positive number (given: nan)"),
        (["--max-fit-error", "-1"], "given: -1"),
        (["--threads", "2,4"], "--threads must begin with 1"),
        (["--memory-mb", "1024"], "belong to --on aws"),
        (["--on", "aws", "--memory-mb", "64"], "given: 64"),
    ],
)
def test_wrong_options_of_profile_are_refused(job, capsys, options, said):
    assert main(["profile", str(job), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (job.parent / "profile.json").exists()


def test_lines_that_do_not_hold_are_refused(job, capsys):
    assert main(["profile", str(job), "--max-fit-error", "1e-9"]) == 1
    said = capsys.readouterr().err
    assert "which were held out (off by: " in said and "allowed: 0.0%" in said and "by its line" in said
    assert not (job.parent / "profile.json").exists()
