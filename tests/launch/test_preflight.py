"""Every check of `funcpipe doctor`: what passes, what fails with which remedy, and what nothing is said about."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from launch.account_checks import BOOTSTRAP_PARAMETER, account_checks
from launch.machine_checks import machine_checks, pins
from launch.plan_checks import plan_checks
from launch.preflight import Check, Status
from runtime.manifest import Manifest
from tests.manifests import make_manifest, write_project

AWS = "https://sts.eu-west-1.amazonaws.com"
LOOPBACK = "http://127.0.0.1:4566"


def client_error(operation: str, code: str, status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)  # type: ignore[arg-type]


class Paginator:
    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = pages

    def paginate(self, **_: Any) -> tuple[dict[str, Any], ...]:
        return self.pages


class FakeAws:
    """An account: answers by operation; an answer that is an exception is raised."""

    def __init__(self, endpoint: str = AWS, **answers: Any) -> None:
        self.endpoint = endpoint
        self.answers = {
            "get_caller_identity": {"Arn": "arn:aws:iam::123456789012:user/me", "Account": "123456789012"},
            "get_parameter": {"Parameter": {"Value": "28"}},
            "get_account_settings": settings(1000, 1000),
            "list_functions": Paginator({"Functions": []}),
            "list_stack_resources": client_error("ListStackResources", "ValidationError"),
            "describe_budgets": {"Budgets": []},
            **answers,
        }
        self.asked: list[str] = []

    def __call__(self, service: str) -> "FakeAws":
        return self

    @property
    def meta(self) -> Any:
        return type("Meta", (), {"endpoint_url": self.endpoint, "region_name": "eu-west-1"})

    def get_paginator(self, operation: str) -> Paginator:
        answer = self.answer(operation)
        assert isinstance(answer, Paginator)
        return answer

    def answer(self, operation: str, **arguments: Any) -> Any:
        self.asked.append(operation)
        answer = self.answers[operation]
        if isinstance(answer, Exception):
            raise answer
        return answer(**arguments) if callable(answer) else answer

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda **arguments: self.answer(operation, **arguments)


def settings(quota: int, unreserved: int) -> dict[str, Any]:
    return {"AccountLimit": {"ConcurrentExecutions": quota, "UnreservedConcurrentExecutions": unreserved}}


def check_of(name: str, aws: FakeAws, manifest: Manifest | None = None) -> Check:
    (found,) = [check for check in account_checks(manifest, None, aws) if check.name == name]
    return found


def test_every_failure_has_a_remedy_and_all_checks_are_there_whatever_fails() -> None:
    manifest = make_manifest(memory_mb=4096)
    names = [check.name for check in account_checks(manifest, None, FakeAws())]
    assert names == ["credentials", "CDK bootstrap", "concurrency", "memory sizes", "AWS budget"]
    for error in (NoCredentialsError(), EndpointConnectionError(endpoint_url=AWS), client_error("X", "ExpiredToken")):
        checks = account_checks(manifest, None, FakeAws(get_caller_identity=error))
        assert [check.name for check in checks] == names
        assert [check.status for check in checks] == [Status.FAILED] + [Status.SKIPPED] * 4
        assert all(check.remedy for check in checks if check.status is Status.FAILED)
        assert {check.found for check in checks[1:]} == {"needs credentials"}


def test_credentials_say_who_where_and_which_endpoint_if_it_is_not_aws() -> None:
    check = check_of("credentials", FakeAws())
    assert check.status is Status.OK
    assert check.found == "arn:aws:iam::123456789012:user/me in account 123456789012, region eu-west-1"
    assert check_of("credentials", FakeAws(LOOPBACK)).found.endswith(f", endpoint {LOOPBACK}")


@pytest.mark.parametrize(
    ("answer", "status", "found"),
    [
        ({"Parameter": {"Value": "6"}}, Status.OK, "version 6"),
        ({"Parameter": {"Value": "5"}}, Status.FAILED, "version 5, needed: 6 or newer"),
        ({"Parameter": {"Value": "soon"}}, Status.FAILED, "version soon"),
        (client_error("GetParameter", "ParameterNotFound"), Status.FAILED, BOOTSTRAP_PARAMETER),
        (client_error("GetParameter", "AccessDeniedException"), Status.SKIPPED, "may not see it (GetParameter"),
        (client_error("GetParameter", "InternalServerError", 500), Status.FAILED, "InternalServerError"),
    ],
)
def test_bootstrap(answer: Any, status: Status, found: str) -> None:
    check = check_of("CDK bootstrap", FakeAws(get_parameter=answer))
    assert check.status is status and found in check.found
    if "newer" in found:
        assert check.remedy == "npx cdk bootstrap"


def test_concurrency_must_leave_100_unreserved() -> None:
    manifest = make_manifest(replicas=[8, 4])
    enough = check_of("concurrency", FakeAws(get_account_settings=settings(1000, 112)), manifest)
    assert enough.status is Status.OK
    short = check_of("concurrency", FakeAws(get_account_settings=settings(1000, 111)), manifest)
    assert short.status is Status.FAILED
    assert "12 workers and 100 that must stay unreserved; quota 1000, of which 111 are unreserved" in short.found
    assert short.remedy is not None and "at least 1001 " in short.remedy
    new = check_of("concurrency", FakeAws(get_account_settings=settings(10, 10)), manifest)
    assert new.remedy is not None and "at least 112 " in new.remedy
    assert check_of("concurrency", FakeAws()).status is Status.SKIPPED, "nothing to compare the quota with"


def test_what_the_stack_itself_has_reserved_counts_as_free() -> None:
    resources = [{"ResourceType": "AWS::Lambda::Function", "PhysicalResourceId": f"f{stage}"} for stage in (0, 1)]
    aws = FakeAws(
        get_account_settings=settings(200, 100),
        list_stack_resources=Paginator({"StackResourceSummaries": resources}),
        get_function_configuration=lambda FunctionName: {
            "FunctionName": FunctionName,
            "MemorySize": 1024,
            "Environment": {"Variables": {"FUNCPIPE_STAGE": FunctionName[1:]}},
        },
        get_function_concurrency=lambda FunctionName: {
            "ReservedConcurrentExecutions": {"f0": 8, "f1": 4}[FunctionName]
        },
    )
    deployed = check_of("concurrency", aws, make_manifest(replicas=[8, 4]))
    assert deployed.status is Status.OK and "12 this stack's already" in deployed.found
    more = check_of("concurrency", aws, make_manifest(replicas=[8, 5]))
    assert more.status is Status.FAILED and more.remedy is not None and "at least 201 " in more.remedy


def functions(*memory_mb: int) -> Paginator:
    return Paginator({"Functions": [{"FunctionName": f"of-{size}", "MemorySize": size} for size in memory_mb]})


def test_the_memory_ceiling_of_new_accounts_is_never_claimed_without_evidence() -> None:
    small, large = make_manifest(memory_mb=3008), make_manifest(memory_mb=[512, 3009])
    aws = FakeAws()
    assert check_of("memory sizes", aws, small).status is Status.OK
    assert "list_functions" not in aws.asked
    unknown = check_of("memory sizes", FakeAws(list_functions=functions(128, 3008)), large)
    assert unknown.status is Status.SKIPPED and "no API tells" in unknown.found
    assert unknown.remedy is not None and "up to 3008" in unknown.remedy
    shown = check_of("memory sizes", FakeAws(list_functions=functions(128, 10_240)), large)
    assert shown.status is Status.OK and "of-10240 has 10240 MB" in shown.found
    assert check_of("memory sizes", FakeAws(LOOPBACK, list_functions=functions(10_240)), large).status is Status.SKIPPED


def budget(name: str, amount: str, kind: str = "COST", unit: str = "USD") -> dict[str, Any]:
    limit = {"Amount": amount, "Unit": unit}
    return {"BudgetName": name, "BudgetType": kind, "BudgetLimit": limit, "TimeUnit": "MONTHLY"}


def test_the_smallest_cost_budget_is_compared_with_the_runs_price() -> None:
    manifest = make_manifest()
    price = manifest.predicted.usd_total
    budgets = [budget("hours", "1", "USAGE", "Hours"), budget("all", "100.0"), budget("team", f"{price * 2}")]
    found = check_of("AWS budget", FakeAws(describe_budgets={"Budgets": budgets}), manifest)
    assert found.status is Status.OK and found.found.startswith("team: ")
    less = {"Budgets": [budget("team", f"{price / 2}")]}
    assert check_of("AWS budget", FakeAws(describe_budgets=less), manifest).status is Status.FAILED
    none = check_of("AWS budget", FakeAws(describe_budgets={"Budgets": budgets[:1]}), manifest)
    assert none.status is Status.SKIPPED and none.remedy is not None


@pytest.mark.parametrize(
    "error",
    [
        client_error("GetAccountSettings", "400"),
        client_error("GetAccountSettings", "InvalidAction"),
        client_error("GetAccountSettings", "ResourceNotFoundException", 404),
        client_error("GetAccountSettings", "InternalFailure", 501),
    ],
)
def test_what_an_endpoint_lacks_is_skipped_there_and_a_failure_on_aws(error: ClientError) -> None:
    manifest = make_manifest()
    here = check_of("concurrency", FakeAws(LOOPBACK, get_account_settings=error), manifest)
    assert here.status is Status.SKIPPED and here.found.startswith("not offered by this endpoint")
    assert check_of("concurrency", FakeAws(AWS, get_account_settings=error), manifest).status is Status.FAILED


def test_a_plan_is_told_with_its_price(tmp_path: Path) -> None:
    manifest, checks = plan_checks(write_project(tmp_path, replicas=[2, 1], budget_usd=1.0))
    assert manifest is not None and [check.status for check in checks] == [Status.OK] * 5
    plan, source, bandwidth, price, _ = checks
    assert plan.found == "example: 2 stages, 3 workers, 1 segments"
    assert str(tmp_path / "source") in source.found and "aws-lambda" in bandwidth.found
    assert f"{manifest.predicted.usd_total:.4g} USD" in price.found


def test_a_budget_below_the_prediction_fails_and_none_is_said(tmp_path: Path) -> None:
    price = make_manifest().predicted.usd_total
    for budget_usd, status in [(None, Status.SKIPPED), (price * 1.01, Status.OK), (price / 2, Status.FAILED)]:
        _, checks = plan_checks(write_project(tmp_path, budget_usd=budget_usd))
        (found,) = [check for check in checks if check.name == "budget"]
        assert found.status is status, found
        assert (found.remedy is None) == (status is Status.OK)


def test_a_plan_that_does_not_fit_its_source_fails(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    (tmp_path / "source" / "new.py").write_text("")
    manifest, checks = plan_checks(path)
    assert manifest is not None
    assert {check.name: check.status for check in checks}["source"] is Status.FAILED


def test_a_plan_that_cannot_be_read_fails_and_nothing_else_is_said(tmp_path: Path) -> None:
    manifest, checks = plan_checks(tmp_path / "absent.json")
    assert manifest is None
    assert [check.status for check in checks] == [Status.FAILED] + [Status.SKIPPED] * 4
    assert all(check.status is Status.SKIPPED for check in plan_checks(None)[1])


@pytest.mark.parametrize("platform", ["aws-lambda-scaled", "embedded"])
def test_what_a_plan_asks_of_the_network_beyond_the_default_is_not_claimed(tmp_path: Path, platform: str) -> None:
    path = write_project(tmp_path)
    document = {**json.loads(path.read_text()), "platform": platform}
    path.write_text(json.dumps(document))
    _, checks = plan_checks(path)
    (bandwidth,) = [check for check in checks if check.name == "bandwidth"]
    assert bandwidth.status is Status.SKIPPED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kit whose pins are what is installed here, with a Node and a Docker of its own on PATH."""
    (tmp_path / "runtime").mkdir()
    (tmp_path / "requirements.txt").write_text(
        "# kit\n-r runtime/requirements.txt\npytest==" + pytest.__version__ + "\n"
    )
    (tmp_path / "runtime" / "requirements.txt").write_text("")
    package = {"engines": {"node": ">=20"}, "dependencies": {"aws-cdk": "2.1.0"}}
    (tmp_path / "package.json").write_text(json.dumps(package))
    (tmp_path / "node_modules" / "aws-cdk").mkdir(parents=True)
    (tmp_path / "node_modules" / "aws-cdk" / "package.json").write_text('{"version": "2.1.0"}')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path, "node", "echo v22.1.0")
    program(tmp_path, "docker", "echo 28.0.1")
    return tmp_path


def program(home: Path, name: str, body: str) -> None:
    path = home / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def machine(home: Path, docker: bool = True) -> dict[str, Check]:
    return {check.name: check for check in machine_checks(docker=docker, home=home)}


def test_a_machine_that_has_all(home: Path) -> None:
    checks = machine(home)
    assert {check.status for check in checks.values()} == {Status.OK}
    assert checks["Docker"].found == "engine 28.0.1" and checks["CDK command"].found == "aws-cdk 2.1.0"
    assert machine(home, docker=False)["Docker"].status is Status.SKIPPED


def test_every_tool_that_is_missing_or_of_another_version_fails_with_both_versions(home: Path) -> None:
    (home / "requirements.txt").write_text("pytest==0.1\nno-such-distribution==1.0\n")
    (home / "node_modules" / "aws-cdk" / "package.json").write_text('{"version": "3.0.0"}')
    program(home, "node", "echo v18.2.0")
    program(home, "docker", "echo Cannot connect to the daemon >&2; exit 1")
    checks = machine(home)
    assert f"pytest {pytest.__version__} (pinned: 0.1)" in checks["Python packages"].found
    assert "no-such-distribution is missing (pinned: 1.0)" in checks["Python packages"].found
    assert checks["CDK command"].found == "3.0.0 (pinned: 2.1.0)"
    assert checks["Node.js"].found == "v18.2.0, needed: 20 or newer"
    assert "Cannot connect to the daemon" in checks["Docker"].found
    failing = [check for name, check in checks.items() if name != "Python"]
    assert all(check.status is Status.FAILED and check.remedy for check in failing)

    (home / "bin" / "node").unlink()
    (home / "node_modules" / "aws-cdk" / "package.json").unlink()
    checks = machine(home)
    assert checks["Node.js"].found == "no node on PATH"
    assert "not in" in checks["CDK command"].found and checks["CDK command"].status is Status.FAILED


def test_the_kits_own_pins_are_read() -> None:
    names = dict(pins(Path(__file__).resolve().parents[2]))
    assert {"torch", "boto3", "rich", "aws-cdk-lib"} <= names.keys()
