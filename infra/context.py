"""What the CDK context asks for of a training: `-c key=value` of the CDK command, or `context` in cdk.json.

Keys are those of docs/infra.md's table. Values are text on the command line, and may be JSON's own types in cdk.json.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from aws_cdk import Annotations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct, Node

from runtime.errors import UserInputError
from runtime.log import LogLevel

_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}
_NO_ROUTES = "Workers are placed in subnets by their ids; their routes are their owner's."
_ARN = r"arn:aws[a-z-]*:{}"


@dataclass(frozen=True)
class Options:
    """Validated values; None is the default of ``FuncPipeTraining``."""

    log_level: LogLevel | None = None
    log_retention_days: int | None = None
    tracing: bool | None = None
    monitoring: bool | None = None
    budget_usd: float | None = None
    alarm_topic: str | None = None
    kms_key: str | None = None
    permissions_boundary: str | None = None
    artifact_bucket: str | None = None
    vpc: str | None = None
    subnets: tuple[str, ...] | None = None
    security_groups: tuple[str, ...] | None = None

    def properties(self, scope: Construct) -> dict[str, Any]:
        """Keyword arguments for ``FuncPipeTraining``; what exists already is imported below ``scope``."""
        made: dict[str, Any] = {
            "log_level": self.log_level,
            "log_retention": self.log_retention_days and _RETENTION[self.log_retention_days],
            "tracing": self.tracing,
            "monitoring": self.monitoring,
            "budget_usd": self.budget_usd,
            "alarm_topic": self.alarm_topic and sns.Topic.from_topic_arn(scope, "AlarmTopic", self.alarm_topic),
            "permissions_boundary": self.permissions_boundary
            and iam.ManagedPolicy.from_managed_policy_arn(scope, "Boundary", self.permissions_boundary),
        }
        key = kms.Key.from_key_arn(scope, "Key", self.kms_key) if self.kms_key else None
        made["encryption_key"] = key
        if self.artifact_bucket:
            made["artifact_bucket"] = s3.Bucket.from_bucket_attributes(
                scope, "ExistingArtifacts", bucket_name=self.artifact_bucket, encryption_key=key
            )
        if self.vpc and self.subnets:
            # Functions are placed by their subnets; of what zone these are, nothing here depends on.
            zones = [f"zone{index}" for index in range(len(self.subnets))]
            made["vpc"] = ec2.Vpc.from_vpc_attributes(
                scope, "Vpc", vpc_id=self.vpc, availability_zones=zones, private_subnet_ids=list(self.subnets)
            )
            # Else `cdk synth --strict` would refuse what works: no route is made or looked at here.
            Annotations.of(made["vpc"]).acknowledge_warning("@aws-cdk/aws-ec2:noSubnetRouteTableId", _NO_ROUTES)
        if self.security_groups:
            made["security_groups"] = [
                ec2.SecurityGroup.from_security_group_id(scope, f"SecurityGroup{index}", group)
                for index, group in enumerate(self.security_groups)
            ]
        return {name: value for name, value in made.items() if value is not None}


def read_options(node: Node) -> Options:
    """The context's options. Raises UserInputError, which names the key, the value and what is expected."""
    given = {field.name: node.try_get_context(field.name) for field in fields(Options)}
    options = Options(**{name: _READERS[name](name, value) for name, value in given.items() if value is not None})
    if bool(options.vpc) != bool(options.subnets):
        raise UserInputError(
            f"vpc and subnets belong together (vpc: {options.vpc}, subnets: {options.subnets}). Give both, or neither."
        )
    if options.security_groups and not options.vpc:
        raise UserInputError("security_groups are those of workers in a VPC. Give vpc and subnets, too.")
    return options


def _wrong(name: str, value: object, expected: str) -> UserInputError:
    return UserInputError(f"{name} must be {expected} (given: {value!r}). Correct -c {name}.")


def _switch(name: str, value: Any) -> bool:
    switches = {"on": True, "off": False, True: True, False: False}
    if not isinstance(value, str | bool) or value not in switches:
        raise _wrong(name, value, "on or off")
    return switches[value]


def _level(name: str, value: Any) -> LogLevel:
    levels = [choice.value for choice in LogLevel]
    if value not in levels:
        raise _wrong(name, value, f"one of {', '.join(levels)}")
    return LogLevel(value)


def _days(name: str, value: Any) -> int:
    if not str(value).isascii() or not str(value).isdigit() or int(value) not in _RETENTION:
        raise _wrong(name, value, f"one of {', '.join(map(str, _RETENTION))}")
    return int(value)


def _usd(name: str, value: Any) -> float:
    try:
        usd = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        usd = math.nan
    if not (math.isfinite(usd) and usd > 0):
        raise _wrong(name, value, "a number of USD above 0")
    return usd


def _text(pattern: str, expected: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _wrong(name, value, expected)
        return value

    return read


def _ids(prefix: str) -> Callable[[str, Any], tuple[str, ...]]:
    def read(name: str, value: Any) -> tuple[str, ...]:
        ids = value if isinstance(value, list) else str(value).split(",")
        if not ids or not all(isinstance(item, str) and re.fullmatch(f"{prefix}-[0-9a-f]+", item) for item in ids):
            raise _wrong(name, value, f"ids like {prefix}-0123abcd, separated by commas")
        return tuple(ids)

    return read


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "log_level": _level,
    "log_retention_days": _days,
    "tracing": _switch,
    "monitoring": _switch,
    "budget_usd": _usd,
    "alarm_topic": _text(_ARN.format(r"sns:[a-z0-9-]+:\d{12}:[\w-]+"), "the ARN of an SNS topic"),
    "kms_key": _text(_ARN.format(r"kms:[a-z0-9-]+:\d{12}:key/[\w-]+"), "the ARN of a KMS key"),
    "permissions_boundary": _text(_ARN.format(r"iam::(\d{12}|aws):policy/[\w+=,.@/-]+"), "the ARN of an IAM policy"),
    "artifact_bucket": _text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of an S3 bucket"),
    "vpc": _text(r"vpc-[0-9a-f]+", "an id like vpc-0123abcd"),
    "subnets": _ids("subnet"),
    "security_groups": _ids("sg"),
}
