"""`funcpipe doctor` from the command line: signs, exit status, no account, no network, the embedded AWS."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from tests.conftest import RunningEmulator
from tests.infra.synthesis import ROOT
from tests.manifests import write_project

NOWHERE = "http://127.0.0.1:1"
NO_ACCOUNT = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def doctor(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    without = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COLUMNS"))}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", *arguments],
        cwd=cwd,
        env={**without, **NO_ACCOUNT, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_without_credentials_and_manifest_it_says_what_to_do(tmp_path: Path) -> None:
    done = doctor("--packaging", "prebuilt", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "\N{HEAVY CHECK MARK} Python " in done.stdout
    assert "\N{HEAVY BALLOT X} credentials " in done.stdout and "aws configure" in done.stdout
    assert "- concurrency " in done.stdout and "needs credentials" in done.stdout
    assert "1 of 15 checks failed" in done.stdout


def test_signs_are_ascii_where_the_terminal_has_no_others(tmp_path: Path) -> None:
    done = doctor("--packaging", "prebuilt", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and done.stdout.isascii()
    assert "\nFAILED credentials " in done.stdout and "\nok     Node.js " in done.stdout


def test_a_narrow_terminal_gets_narrow_lines_and_a_file_gets_whole_ones(tmp_path: Path) -> None:
    manifest = str(write_project(tmp_path))
    narrow = doctor(manifest, "--packaging", "prebuilt", cwd=tmp_path, COLUMNS="50").stdout.splitlines()
    assert all(len(line) <= 50 or " " not in line.strip() for line in narrow), "words stay whole"
    assert "\N{HEAVY CHECK MARK} plan" in narrow and "  example: 2 stages, 2 workers, 1 segments" in narrow
    whole = doctor(manifest, "--packaging", "prebuilt", cwd=tmp_path).stdout
    assert " ".join(whole.split()) == " ".join(" ".join(narrow).split())
    assert "Configure credentials and a region as for the AWS CLI (`aws configure`, AWS_PROFILE, " in whole


def test_an_endpoint_that_cannot_be_reached_is_a_failure_and_not_a_traceback(tmp_path: Path) -> None:
    account = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    manifest = write_project(tmp_path)
    done = doctor(str(manifest), "--json", cwd=tmp_path, AWS_ENDPOINT_URL=NOWHERE, **account)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["credentials"]["status"] == "failed" and NOWHERE in checks["credentials"]["found"]
    assert checks["plan"]["status"] == "ok"


def test_a_broken_manifest_is_a_failed_check(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    done = doctor("manifest.json", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["ok"] is False
    (plan,) = [check for check in document["checks"] if check["name"] == "plan"]
    assert plan["status"] == "failed" and "not valid JSON" in plan["found"]


def test_the_embedded_aws_that_does_not_run_is_the_users_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--local", "--json"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["embedded AWS"]["status"] == "failed" and checks["embedded AWS"]["remedy"] == "funcpipe local up"


def test_the_embedded_aws_passes_and_what_it_lacks_is_skipped(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(emulator.project)
    manifest = write_project(tmp_path, replicas=[3, 2], memory_mb=[512, 10_240])
    status = main(["doctor", str(manifest), "--local", "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert status == 0, checks
    assert emulator.endpoint in checks["credentials"]["found"] and emulator.account in checks["credentials"]["found"]
    assert checks["CDK bootstrap"]["status"] == "ok"
    assert checks["concurrency"]["status"] == "ok" and checks["concurrency"]["found"].startswith("5 workers and 100")
    for name in ("Docker", "memory sizes", "AWS budget"):
        assert checks[name]["status"] == "skipped", name

    much = write_project(tmp_path / "much", replicas=[899, 1])
    quota = emulator.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    assert quota == 1000, "900 workers and 100 unreserved are what the quota allows"
    assert main(["doctor", str(much), "--local", "--json"]) == 0
