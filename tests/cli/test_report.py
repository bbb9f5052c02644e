"""Which of Lambda's REPORT lines a run is billed for."""

from datetime import UTC, datetime

import pytest

import launch.billed
import launch.deployment
from cli.main import main
from launch.billed import Invocation, Logged
from launch.deployment import ExecutionState
from launch.registry import Registry, RunEntry
from runtime.errors import FuncpipeError
from runtime.store_directory import DirectoryStore
from tests.launch.hand_written import RUN, put_commit, put_manifest, put_summary
from tests.manifests import make_manifest

STARTED, STOPPED = 1000.0, 1100.0


@pytest.fixture(autouse=True)
def stopped_run(tmp_path, monkeypatch):
    """A run that was stopped in its first segment: one of two workers left a summary."""
    manifest = make_manifest(memory_mb=1024)
    store = DirectoryStore(tmp_path / "artifacts")
    put_manifest(store, manifest)
    put_commit(store, manifest, 0)
    put_summary(store, manifest, 0, started_at=1010, ended_at=1090)
    Registry(tmp_path).add(
        RunEntry(
            run=RUN,
            kind="aws",
            artifacts_url="s3://artifacts",
            manifest_path="manifest.json",
            manifest_sha256=manifest.sha256,
            started_at=STARTED,
            stack="s",
            state_machine_arn="m",
            execution_arn="e",
        )
    )
    ended = ExecutionState("ABORTED", *(datetime.fromtimestamp(at, UTC) for at in (STARTED, STOPPED)), None, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("runtime.store_urls.open_store", lambda url: store)
    monkeypatch.setattr(launch.deployment, "describe_execution", lambda arn: ended)
    monkeypatch.setattr(launch.deployment, "stage_functions", lambda stack: [])


def invocation(name: str, begun_at: float, billed_s: float) -> Invocation:
    return Invocation(0, name, begun_at + billed_s, billed_s, 1024, 100, None)


def test_invocations_that_began_during_the_run_are_billed(monkeypatch, capsys):
    every = [
        invocation("straggler-of-the-run-before", STARTED - 10, 20),
        invocation("finished", 1010, 80),
        invocation("stopped-and-noticed-late", 1012, 95),
        invocation("of-the-next-run", STOPPED + 1, 5),
    ]
    monkeypatch.setattr(launch.billed, "logged", lambda functions, begin, end: Logged(every, 2**20))
    assert main(["report", RUN]) == 0
    shown = capsys.readouterr().out
    assert "175 GB-s" in shown and "of 2 REPORT lines" in shown
    assert "CloudWatch Logs" in shown


@pytest.mark.parametrize("logs", [[], FuncpipeError("log group is gone")])
def test_without_report_lines_the_records_are_the_basis_and_it_says_so(monkeypatch, capsys, logs):
    def read(*_):
        if isinstance(logs, Exception):
            raise logs
        return Logged(logs, 0)

    monkeypatch.setattr(launch.billed, "logged", read)
    assert main(["report", RUN]) == 0
    captured = capsys.readouterr()
    assert "80 GB-s" in captured.out and "1 worker runs" in captured.out
    assert "warning: the bill is computed from the workers' records" in captured.err
