import pytest

from launch.bill import bill_by_records, bill_by_reports
from launch.billed import EVENT_BYTES, Invocation, logged, parse_report
from launch.deployment import StageFunction
from launch.run_records import RunRecords
from runtime.records import Traffic
from runtime.store_directory import DirectoryStore
from tests.launch.hand_written import RUN, put_commit, put_manifest, put_summary
from tests.manifests import make_manifest

COLD = (
    "REPORT RequestId: 8f507cfc-aaaa\tDuration: 1234.50 ms\tBilled Duration: 2235 ms\tMemory Size: 2048 MB\t"
    "Max Memory Used: 512 MB\tInit Duration: 1000.25 ms\t\n"
)
WARM = (
    "REPORT RequestId: 8f507cfc-bbbb\tDuration: 99.00 ms\tBilled Duration: 100 ms\tMemory Size: 1024 MB\t"
    "Max Memory Used: 80 MB\t\n"
)


def test_a_report_line_is_taken_apart():
    assert parse_report(COLD, 3, 7.0) == Invocation(
        stage=3,
        request_id="8f507cfc-aaaa",
        ended_at=7.0,
        billed_s=2.235,
        memory_mb=2048,
        max_memory_used_mb=512,
        init_s=1.00025,
    )
    warm = parse_report(WARM, 0, 0.0)
    assert warm is not None and warm.init_s is None


def test_other_lines_are_no_reports():
    assert parse_report("START RequestId: 8f507cfc Version: $LATEST", 0, 0.0) is None


class Logs:
    """A log group of several pages of events, each the name of a stream and a line."""

    def __init__(self, *pages: list[tuple[str, str]]) -> None:
        self._pages = pages

    def get_paginator(self, operation: str) -> "Logs":
        assert operation == "filter_log_events"
        return self

    def paginate(self, logGroupName: str, startTime: int, endTime: int):
        assert (startTime, endTime) == (1_000, 2_001)
        assert logGroupName == "logs", "asked for once"
        for events in self._pages:
            told = [{"logStreamName": stream, "message": line, "timestamp": 1_500} for stream, line in events]
            yield {"events": told}


def test_reports_of_all_pages_and_functions_are_found_once():
    functions = [StageFunction(0, "job-a", 1024, "logs"), StageFunction(1, "job-b", 2048, "logs")]
    first, second, other = (f"2026/11/26/{name}[12]0123" for name in ("job-a", "job-b", "job-a-other"))
    logs = Logs([(first, WARM), (first, "other")], [(first, WARM)], [], [(second, COLD), (other, COLD)])
    found = logged(functions, 1.0, 2.0, logs=logs)
    assert found.log_bytes == sum(len(line) + EVENT_BYTES for line in (WARM, "other", WARM, COLD))
    assert [(i.stage, i.request_id, i.ended_at) for i in found.invocations] == [
        (0, "8f507cfc-bbbb", 1.5),
        (1, "8f507cfc-aaaa", 1.5),
    ]


@pytest.fixture
def records(tmp_path) -> RunRecords:
    """One segment of 4 iterations on stages of 1 and 2 GB, 1 replica each."""
    manifest = make_manifest(memory_mb=[1024, 2048])
    store = DirectoryStore(tmp_path)
    put_manifest(store, manifest)
    put_commit(store, manifest, 0)
    traffic = Traffic(puts=10, gets=30, empty_gets=5, lists=1, bytes_up=100, bytes_down=200)
    put_summary(store, manifest, 0, started_at=1000, ended_at=1010, traffic=traffic)
    put_summary(store, manifest, 1, started_at=1000, ended_at=1006, traffic=traffic)
    found = RunRecords(store, RUN)
    found.refresh()
    return found


def quantities(bill) -> dict[str, float]:
    return {line.item: line.quantity for line in bill.lines}


def test_the_bill_by_records_prices_every_kind_of_request(records):
    bill, basis = bill_by_records(records, 2000.0)
    assert quantities(bill) == {
        "Lambda compute (x86_64)": pytest.approx(10 * 1 + 6 * 2),
        "Lambda requests": 2,
        "S3 PUT": 20,
        "S3 LIST": 2,
        "S3 GET": 50,
        "S3 GET, nothing there yet": 10,
        "Step Functions transitions": 2 + 4 + 2 + 2,
    }
    assert "2 worker runs" in basis


def test_the_bill_by_reports_uses_what_lambda_billed(records):
    reports = [Invocation(0, "a", 1.0, 20.0, 1024, 100, 5.0), Invocation(1, "b", 1.0, 10.0, 2048, 100, None)]
    bill, basis = bill_by_reports(records, reports, log_bytes=2**29)
    price = records.manifest.spending.prices.usd_per_gb_s
    assert [line.item for line in bill.lines[:2]] == ["Lambda compute (x86_64)", "Lambda init (x86_64)"]
    assert bill.lines[0].usd == pytest.approx((15 + 20) * price)
    assert bill.lines[1].usd == pytest.approx(5 * price)
    assert (bill.lines[-1].item, bill.lines[-1].usd) == ("CloudWatch Logs", 0.25)
    assert "2 REPORT lines" in basis
