import os
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from localaws import control, processes
from localaws.state import Emulator
from localaws.variables import UNSET, with_emulator
from tests.localaws.waiting import wait_until


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose ``cdk`` command only notes what it was asked; its emulator is the real one."""
    checkout = tmp_path / "checkout"
    (checkout / "node_modules" / ".bin").mkdir(parents=True)
    for name in (".venv-emulator", "localaws"):
        (checkout / name).symlink_to(control.HOME / name)
    write_cdk(checkout, 'echo "$@" "$AWS_ENDPOINT_URL" > asked; echo "bootstrap says hello"')
    monkeypatch.setattr(control, "HOME", checkout)
    return checkout


def write_cdk(checkout: Path, script: str) -> None:
    cdk = checkout / "node_modules" / ".bin" / "cdk"
    cdk.write_text(f"#!/bin/sh\n{script}\n")
    cdk.chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def answers(emulator: Emulator) -> bool:
    try:
        with urllib.request.urlopen(f"{emulator.endpoint}/_ministack/health", timeout=60):
            return True
    except OSError:
        return False


def test_up_status_down(checkout: Path, project: Path) -> None:
    assert control.status(project) is None
    emulator, started = control.up(project, bound=True)
    try:
        assert started and emulator.alive and answers(emulator)
        asked = (project / ".funcpipe/local/run/asked").read_text()
        assert asked.startswith("bootstrap aws://") and asked.endswith(f"{emulator.endpoint}\n")
        assert "bootstrap says hello" in Path(emulator.log).read_text()
        assert control.up(project, bound=True) == (emulator, False)
        assert control.status(project) == emulator
    finally:
        assert control.down(project) == emulator
    assert not emulator.alive and not answers(emulator)
    assert control.status(project) is None
    assert control.down(project) is None
    assert not Path(emulator.folder).exists()


def test_two_ups_at_once_start_one_emulator(checkout: Path, project: Path) -> None:
    try:
        with ThreadPoolExecutor(2) as threads:
            (first, started), (second, started_too) = threads.map(
                lambda project: control.up(project, bound=True), [project] * 2
            )
        assert first == second
        assert [started, started_too].count(True) == 1
    finally:
        control.down(project)


def test_a_killed_emulator_is_noticed_and_replaced(checkout: Path, project: Path) -> None:
    emulator, _ = control.up(project, bound=True)
    os.kill(emulator.pid, signal.SIGKILL)
    os.waitpid(emulator.pid, 0)
    assert control.status(project) is None
    assert not Path(emulator.folder).exists()
    another, started = control.up(project, bound=True)
    try:
        assert started and another.pid != emulator.pid
    finally:
        control.down(project)


def test_objects_survive_a_restart_where_they_are_kept_and_no_end_by_down(checkout: Path, project: Path) -> None:
    emulator, _ = control.up(project, keep=True, bound=True)
    try:
        s3 = s3_client(emulator)
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="runs/a/commit", Body=b"whole")
        again = control.restart(project)
        assert again.port == emulator.port and again.pid != emulator.pid and again.keeps and again.bound
        assert s3_client(again).get_object(Bucket="kept", Key="runs/a/commit")["Body"].read() == b"whole"
    finally:
        control.down(project)
    assert not control.state_folder(project).objects.exists()
    with pytest.raises(control.EmulatorError, match="is not running"):
        control.restart(project)


OWNER = """
import sys, time
from pathlib import Path
from localaws import control
print(control.up(Path(sys.argv[1]), bootstrap=False, bound=True)[0].pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_bound_emulator_ends_with_the_process_that_started_it(project: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", OWNER, str(project)]
    owner = subprocess.Popen(command, cwd=control.HOME, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    try:
        emulator = int(owner.stdout.readline())
        started = processes.start_time(emulator)
        assert started is not None
    finally:
        owner.send_signal(number)
        owner.communicate()
    wait_until(lambda: processes.start_time(emulator) != started, f"emulator {emulator} ends")
    assert control.status(project) is None


def s3_client(emulator: Emulator) -> Any:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=emulator.endpoint, config=Config(proxies={}), **credentials)


def test_never_ends_a_process_that_only_has_the_same_id(project: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    folder = control.state_folder(project)
    folder.path.mkdir(parents=True)
    record = Emulator(bystander.pid, "another start", 1, str(folder.files), str(folder.log))
    folder.save(record)
    assert control.down(project) is None
    folder.save(record)
    assert control.status(project) is None
    assert folder.load() is None
    assert bystander.poll() is None
    bystander.communicate()
    assert bystander.returncode == 1


def test_a_record_that_cannot_be_read_is_none(project: Path) -> None:
    folder = control.state_folder(project)
    folder.path.mkdir(parents=True)
    for text in ("", "{}", "[1]", '{"pid": 1'):
        (folder.path / "state.json").write_text(text)
        assert control.status(project) is None


def test_a_failed_bootstrap_leaves_nothing_running(
    checkout: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cdk(checkout, "echo the reason; exit 3")
    spawned: list[Emulator] = []
    spawn = control._spawn
    monkeypatch.setattr(control, "_spawn", lambda *args: spawned.append(spawn(*args)) or spawned[-1])
    with pytest.raises(control.EmulatorError, match=r"(?s)exit status 3.*emulator\.log.*the reason"):
        control.up(project, bound=True)
    assert not spawned[0].alive
    assert control.status(project) is None


def test_an_interrupted_start_leaves_nothing_running(
    checkout: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned: list[Emulator] = []

    def interrupted(emulator: Emulator) -> bool:
        spawned.append(emulator)
        raise KeyboardInterrupt

    monkeypatch.setattr(control, "_await_health", interrupted)
    with pytest.raises(KeyboardInterrupt):
        control.up(project, bound=True)
    assert not spawned[0].alive
    assert control.status(project) is None


@pytest.mark.parametrize("missing", [".venv-emulator", "node_modules/.bin/cdk"])
def test_says_when_set_up_is_missing(checkout: Path, project: Path, missing: str) -> None:
    (checkout / missing).unlink()
    with pytest.raises(control.EmulatorError, match=rf"{missing}.*make setup"):
        control.up(project, bound=True)
    assert control.status(project) is None


def test_an_emulator_that_cannot_start_shows_its_log(
    checkout: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / ".venv-emulator").unlink()
    python = checkout / ".venv-emulator" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho no such module; exit 1\n")
    python.chmod(0o755)
    with pytest.raises(control.EmulatorError, match=r"(?s)did not start.*no such module"):
        control.up(project, bound=True)
    assert control.status(project) is None


def test_a_port_taken_in_between_is_not_used(checkout: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = control._free_port()
        ports = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(control, "_free_port", lambda: next(ports))
        emulator, _ = control.up(project, bound=True)
    try:
        assert emulator.port == free
    finally:
        control.down(project)


def test_variables_replace_the_users_own_aws_settings() -> None:
    user = {name: "mine" for name in UNSET} | {
        "AWS_ENDPOINT_URL_LAMBDA": "mine",
        "AWS_REGION": "eu-west-1",
        "PATH": "/bin",
    }
    emulator = Emulator(1, "s", 4567, "/project/.funcpipe/local/run", "/log")
    merged = with_emulator(user, emulator.environment)
    assert "mine" not in merged.values()
    assert merged["PATH"] == "/bin"
    assert merged["AWS_ENDPOINT_URL"] == merged["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:4567"
    assert merged["AWS_REGION"] == merged["AWS_DEFAULT_REGION"] == "us-east-1"
    assert merged["CDK_HOME"] == "/project/.funcpipe/local/run/cdk"
    assert merged["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] == "/project/.funcpipe/local/jsii", "not in the user's home"


def test_alive_needs_the_same_start() -> None:
    started = processes.start_time(os.getpid())
    assert started is not None
    mine = Emulator(os.getpid(), started, 1, "", "")
    assert mine.alive
    assert not replace(mine, started="another").alive
    child = subprocess.Popen([sys.executable, "-c", ""])
    theirs = replace(mine, pid=child.pid, started=processes.start_time(child.pid) or "ended already")
    child.wait()
    wait_until(lambda: not theirs.alive, "the child's record is stale")
