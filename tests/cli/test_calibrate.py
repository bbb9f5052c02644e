"""``funcpipe calibrate`` on the command line: what it writes, and what it refuses."""

import json
from uuid import uuid4

import pytest

import planner.calibration
import planner.machine
from cli.main import main
from planner.platforms import find_platform


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def small(*arguments):
    return main(["calibrate", *map(str, arguments), "--repeats", "1", "--object-mb", "1"])


def test_a_folder_becomes_a_platform_that_can_be_updated(store, tmp_path, capsys):
    output = tmp_path / "My Store.json"
    assert small(store, "-o", output, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["memory_mb"]) == ("my-store", 1769)
    assert find_platform(str(output)).get_latency_s == pytest.approx(told["get_latency_s"], rel=1e-4)
    assert small(store.as_uri(), "-o", output, "--memory-mb", 4096) == 0
    assert [point[0] for point in json.loads(output.read_text())["links"]["download"]] == [1769, 4096]
    assert [path for path in store.rglob("*") if path.is_file()] == []


def test_a_machine_and_its_slow_links_become_a_platform(store, tmp_path, monkeypatch):
    monkeypatch.setattr(planner.machine, "REPEATS", 2)
    output = tmp_path / "slow.json"
    link = ("--upload-mib-s", 64, "--download-mib-s", 32, "--latency-ms", 20)
    assert small(store, "-o", output, "--base", "local", *link) == 0
    platform = find_platform(str(output))
    assert platform.timed_links and platform.shared_cores
    assert platform.upload_bandwidth(1769) <= 1.01 * 64 * 2**20
    assert platform.bandwidth(1769) <= 1.01 * 32 * 2**20
    assert platform.get_latency_s >= 0.02
    assert [rest_s for rest_s, _ in platform.delays.object_s] == list(planner.machine.RESTS_S)
    assert all(added_s > 0 for _, added_s in platform.delays.object_s)
    assert platform.worker_bytes is not None and 50e6 < platform.worker_bytes < 1e9


def test_a_bucket_becomes_a_platform_and_is_left_as_it_was(store, tmp_path, emulator, monkeypatch, capsys):
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("runtime.store_s3.shared_client", lambda: emulator.client("s3"))
    bucket, output = f"calibrated-{uuid4()}", tmp_path / "local.json"
    emulator.client("s3").create_bucket(Bucket=bucket)
    assert small(f"s3://{bucket}", "-o", output, "--base", "embedded") == 0
    platform = find_platform(str(output))
    assert platform.serial_requests and platform.shared_cores, "as the base says"
    assert min(platform.bandwidth(1769), platform.upload_bandwidth(1769), platform.get_latency_s) > 0
    assert emulator.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    written = output.read_text()
    assert small("s3://not-there", "-o", output) == 2
    assert "s3://not-there: there is no such bucket." in capsys.readouterr().err
    assert output.read_text() == written


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["file:///nowhere"], "no such folder"),
        (["ftp://host"], "ftp://host"),
        (["store", "--memory-mb", "64"], "given: 64"),
        (["store", "--base", "azure"], "azure"),
        (["store", "--base", "wrong.json"], "wrong.json"),
        (["store", "-o", "wrong.json"], "wrong.json"),
        (["store", "--name", "No Name"], "No Name"),
        (["store", "--upload-mib-s", "0"], "above 0"),
    ],
)
def test_what_cannot_be_used_is_refused(store, capsys, arguments, mentions):
    (store.parent / "wrong.json").write_text('{"schema_version": 7}')
    assert small(*arguments) == 2
    shown = capsys.readouterr().err
    assert mentions in shown and "Traceback" not in shown
    assert not (store.parent / "platform.json").exists()
    assert (store.parent / "wrong.json").read_text() == '{"schema_version": 7}'


def test_ctrl_c_says_what_became_of_it(store, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(planner.calibration, "measure_store", interrupted)
    assert small(store) == 130
    assert "no object is left" in capsys.readouterr().err
