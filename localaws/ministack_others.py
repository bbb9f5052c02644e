"""Smaller gaps of MiniStack 1.5.33: budgets in CloudFormation, alarms on expressions, images never pushed to ECR."""

import json
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import budgets, ecr
from ministack.services.cloudformation import provisioners

from localaws.ministack_version import require_adapted_version

Record = dict[str, Any]


def install() -> None:
    """Puts the adapters in place."""
    require_adapted_version()
    provisioners._RESOURCE_HANDLERS["AWS::Budgets::Budget"] = {
        "create": _create_budget,
        "update": _update_budget,
        "delete": _delete_budget,
    }
    provisioners._cw_metric_alarm_record = _alarm_record(provisioners._cw_metric_alarm_record)
    ecr._describe_images = _describe_images(ecr._describe_images)


def _alarm_record(record: Any) -> Any:
    """MiniStack computes no expressions: an alarm on one is kept, and never goes off."""

    def keep(name: str, properties: Record) -> Record:
        if not properties.get("Metrics"):
            return record(name, properties)
        rest = {key: value for key, value in properties.items() if key != "Metrics"}
        return record(name, {**rest, "Namespace": "LocalAws", "MetricName": "ExpressionNotComputed"})

    return keep


def _create_budget(logical_id: str, properties: Record, stack: str) -> tuple[str, Record]:
    budget = dict(properties["Budget"])
    budget.setdefault("BudgetName", f"{stack}-{logical_id}")
    limit = budget.get("BudgetLimit")
    if limit:
        budget["BudgetLimit"] = {**limit, "Amount": str(limit["Amount"])}
    wanted = {
        "Budget": budget,
        "NotificationsWithSubscribers": properties.get("NotificationsWithSubscribers", []),
    }
    status, _headers, body = budgets._create_budget(wanted)
    if status >= 300:
        raise ValueError(f"AWS::Budgets::Budget was refused: {json.loads(body)}")
    return budget["BudgetName"], {}


def _update_budget(physical_id: str, old: Record, new: Record, stack: str) -> tuple[str, Record]:
    _delete_budget(physical_id, old)
    return _create_budget("Budget", {**new, "Budget": {"BudgetName": physical_id, **new["Budget"]}}, stack)


def _delete_budget(physical_id: str, properties: Record) -> None:
    budgets._delete_budget({"BudgetName": physical_id})


def _describe_images(describe: Any) -> Any:
    """Without this the CDK command takes every image for pushed, and skips building it without a word."""

    def describe_existing(data: Record) -> Any:
        repository, wanted = data.get("repositoryName"), data.get("imageIds")
        if repository in ecr._repositories and wanted and not any(ecr._find_image(repository, i) for i in wanted):
            return error_response_json("ImageNotFoundException", "The image requested does not exist", 400)
        return describe(data)

    return describe_existing
