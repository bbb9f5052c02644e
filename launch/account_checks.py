"""Preflight of an account and region: credentials, bootstrap, and quotas against a plan. Only reads, and costs nothing.

What an endpoint does not offer, or the caller may not see, is skipped with the reason.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from launch.deployment import default_stack_name, stage_functions
from launch.plan_checks import NO_PLAN
from launch.preflight import Check, failed, passed, skipped
from launch.session import aws_errors, error_code, quick_client
from runtime.errors import FuncpipeError
from runtime.limits import LAMBDA_NEW_ACCOUNT_MEMORY_MB, LAMBDA_UNRESERVED_CONCURRENCY
from runtime.manifest import Manifest

Clients = Callable[[str], Any]

BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
MIN_BOOTSTRAP_VERSION = 6
"""What aws-cdk-lib 2.275.0 writes as requiresBootstrapStackVersion into the assembly of a stack with assets."""
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"})
_UNKNOWN = frozenset({"InvalidAction", "NotImplemented", "UnknownOperation", "UnknownOperationException"})
_FUNCTION_PAGES = 20
"""Of 50 functions: enough to find a large one where there is one, without reading a whole large account."""


def _client(service: str) -> Any:
    # AWS Budgets has one endpoint, in us-east-1.
    return quick_client(service, region="us-east-1" if service == "budgets" else None)


def account_checks(manifest: Manifest | None, stack: str | None = None, clients: Clients = _client) -> list[Check]:
    """All checks, in the order in which they matter; without credentials, the rest are skipped.

    Args:
        stack: name of the stack to be deployed; by default the one that ``app.py`` gives.
    """
    credentials, account, embedded = _credentials(clients)
    checks = [credentials]
    later: list[tuple[str, Callable[[], Check]]] = [
        ("CDK bootstrap", lambda: _bootstrap(clients)),
        ("concurrency", lambda: _concurrency(clients, manifest, stack)),
        ("memory sizes", lambda: _memory(clients, manifest, embedded)),
        ("AWS budget", lambda: _budget(clients, manifest, str(account), embedded)),
    ]
    for name, look in later:
        checks.append(skipped(name, "needs credentials") if account is None else _guarded(name, look, embedded))
    return checks


def _guarded(name: str, look: Callable[[], Check], embedded: bool) -> Check:
    try:
        with aws_errors():
            return look()
    except FuncpipeError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError):
            code, status = error_code(cause), cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code in _DENIED:
                return skipped(name, f"these credentials may not see it ({cause.operation_name}: {code})")
            if embedded and (code in _UNKNOWN or code.isdigit() or status in (404, 501)):
                return skipped(name, f"not offered by this endpoint ({cause.operation_name}: {code})")
        return failed(name, str(error), "Mend what the message names, and run `funcpipe doctor` again.")


def _credentials(clients: Clients) -> tuple[Check, str | None, bool]:
    """The check; the account's number, None when AWS cannot be asked; whether the endpoint is not AWS itself."""
    try:
        with aws_errors():
            sts = clients("sts")
            caller = sts.get_caller_identity()
    except FuncpipeError as error:
        remedy = (
            "Configure credentials and a region as for the AWS CLI (`aws configure`, AWS_PROFILE, AWS_DEFAULT_REGION)."
        )
        return failed("credentials", str(error), remedy), None, False
    host = urlsplit(sts.meta.endpoint_url).hostname or ""
    embedded = not host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    where = f", endpoint {sts.meta.endpoint_url}" if embedded else ""
    found = f"{caller['Arn']} in account {caller['Account']}, region {sts.meta.region_name}{where}"
    return passed("credentials", found), str(caller["Account"]), embedded


def _bootstrap(clients: Clients) -> Check:
    name, remedy = "CDK bootstrap", "npx cdk bootstrap"
    try:
        value = clients("ssm").get_parameter(Name=BOOTSTRAP_PARAMETER)["Parameter"]["Value"]
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            return failed(name, f"this account and region have no {BOOTSTRAP_PARAMETER}", remedy)
        raise
    if not value.isdecimal() or int(value) < MIN_BOOTSTRAP_VERSION:
        return failed(name, f"version {value}, needed: {MIN_BOOTSTRAP_VERSION} or newer", remedy)
    return passed(name, f"version {value}")


def _concurrency(clients: Clients, manifest: Manifest | None, stack: str | None) -> Check:
    """Reserved concurrency is granted from what is unreserved, of which AWS keeps 100."""
    name = "concurrency"
    functions = clients("lambda")
    limit = functions.get_account_settings()["AccountLimit"]
    quota, unreserved = int(limit["ConcurrentExecutions"]), int(limit["UnreservedConcurrentExecutions"])
    if manifest is None:
        return skipped(name, f"quota {quota}, of which {unreserved} are unreserved; {NO_PLAN}")
    needed = manifest.workers + LAMBDA_UNRESERVED_CONCURRENCY
    own = 0
    if unreserved < needed:
        own = _reserved_by(stack or default_stack_name(manifest), clients("cloudformation"), functions)
    of_own = f" and {own} this stack's already" if own else ""
    found = (
        f"{manifest.workers} workers and {LAMBDA_UNRESERVED_CONCURRENCY} that must stay unreserved; "
        f"quota {quota}, of which {unreserved} are unreserved{of_own}"
    )
    if unreserved + own < needed:
        remedy = (
            f"Ask for a quota of at least {needed + quota - unreserved - own} (Service Quotas, AWS Lambda, Concurrent "
            "executions), or plan with a smaller limits.max_concurrency."
        )
        return failed(name, found, remedy)
    return passed(name, found)


def _reserved_by(stack: str, cloudformation: Any, functions: Any) -> int:
    """Concurrency that a deployed stack's functions reserve; 0 when there is no such stack."""
    try:
        found = stage_functions(stack, cloudformation=cloudformation, functions=functions)
    except FuncpipeError as error:
        if isinstance(error.__cause__, ClientError) and error_code(error.__cause__) == "ValidationError":
            return 0
        raise
    answers = [functions.get_function_concurrency(FunctionName=function.name) for function in found]
    return sum(int(answer.get("ReservedConcurrentExecutions", 0)) for answer in answers)


def _memory(clients: Clients, manifest: Manifest | None, embedded: bool) -> Check:
    """New accounts have a lower ceiling, which AWS tells by no API: one function above it shows that it is gone."""
    name, ceiling = "memory sizes", LAMBDA_NEW_ACCOUNT_MEMORY_MB
    if manifest is None:
        return skipped(name, NO_PLAN)
    largest = max(stage.memory_mb for stage in manifest.stages)
    if largest <= ceiling:
        return passed(name, f"largest stage {largest} MB; every account may have {ceiling} MB")
    if embedded:
        return skipped(name, f"largest stage {largest} MB; this endpoint has no ceiling of new accounts")
    pages = (
        clients("lambda").get_paginator("list_functions").paginate(PaginationConfig={"MaxItems": _FUNCTION_PAGES * 50})
    )
    for page in pages:
        for function in page["Functions"]:
            if function["MemorySize"] > ceiling:
                seen = f"{function['FunctionName']} has {function['MemorySize']} MB"
                return passed(name, f"largest stage {largest} MB; the account is not held to {ceiling} MB: {seen}")
    return skipped(
        name,
        f"largest stage {largest} MB; new accounts are held to {ceiling} MB, and no API tells whether this one is",
        f'If the deployment says "less than or equal to {ceiling}", ask AWS Support to raise it, or plan with '
        f"limits.memory_mb up to {ceiling}.",
    )


def _budget(clients: Clients, manifest: Manifest | None, account: str, embedded: bool) -> Check:
    name = "AWS budget"
    if embedded:
        return skipped(name, "this endpoint bills nothing")
    answer = clients("budgets").describe_budgets(AccountId=account)
    limits = [
        (Decimal(budget["BudgetLimit"]["Amount"]), budget)
        for budget in answer.get("Budgets", [])
        if budget["BudgetType"] == "COST" and budget.get("BudgetLimit", {}).get("Unit") == "USD"
    ]
    if not limits:
        return skipped(
            name,
            "the account has no cost budget, so AWS warns nobody of a bill",
            "Make one in AWS Budgets. It warns late: what ends a run in time is run.budget_usd in the job.",
        )
    smallest, budget = min(limits, key=lambda pair: pair[0])
    found = f"{budget['BudgetName']}: {smallest:f} USD ({budget['TimeUnit'].lower()})"
    if manifest is not None and manifest.predicted.usd_total > smallest:
        return failed(
            name,
            f"{found}, less than the run's predicted {manifest.predicted.usd_total:.2f} USD",
            "Raise the budget, or plan a cheaper run.",
        )
    return passed(name, found)
