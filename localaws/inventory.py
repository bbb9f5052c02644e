"""What an AWS endpoint holds of one stack, found by name: to show that ``cdk destroy`` has left nothing behind.

Resources are listed by their services, not by CloudFormation, which forgets what it failed to delete.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config


def inventory(stack: str, variables: Mapping[str, str]) -> dict[str, list[str]]:
    """Names that contain ``stack`` (as CloudFormation's generated names do), by kind, sorted.

    Args:
        stack: the stack's name.
        variables: ``Emulator.environment``; the process's own AWS settings are not looked at.
    """
    return {kind: sorted(name for name in names if stack.lower() in name.lower()) for kind, names in _names(variables)}


def _names(variables: Mapping[str, str]) -> Iterator[tuple[str, Iterator[str]]]:
    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name=variables["AWS_REGION"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            config=Config(proxies={}),
        )

    def listed(service: str, operation: str, items: str, name: str, **arguments: Any) -> Iterator[str]:
        for page in client(service).get_paginator(operation).paginate(**arguments):
            yield from (item[name] for item in page[items])

    yield "functions", listed("lambda", "list_functions", "Functions", "FunctionName")
    yield "buckets", (bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"])
    yield "state machines", listed("stepfunctions", "list_state_machines", "stateMachines", "name")
    yield "roles", listed("iam", "list_roles", "Roles", "RoleName")
    yield "log groups", listed("logs", "describe_log_groups", "logGroups", "logGroupName")
    yield "alarms", listed("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName")
    yield "dashboards", listed("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName")
    # A deleted stack stays on CloudFormation's list for 90 days, with this status.
    yield (
        "stacks",
        (
            item["StackName"]
            for page in client("cloudformation").get_paginator("list_stacks").paginate()
            for item in page["StackSummaries"]
            if item["StackStatus"] != "DELETE_COMPLETE"
        ),
    )
