"""What cdk-nag's AwsSolutions pack finds in a training and is meant to be so: one by one, each with its reason.

Here are also all permissions that are not on one exact resource. Acknowledged by CDK's own means, so that the checks of
a platform team's app know them too; without cdk-nag they are metadata without effect.
"""

import json
from collections.abc import Iterable
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_s3 as s3
from constructs import IConstruct

from runtime import keys

INBOX_LOGS = (
    "An inbox holds objects of one run for seconds, which only the functions of this stack can reach; a log line for "
    "each request would be one more object to store and to delete."
)
ARTIFACT_LOGS = (
    "Server access logs need a second bucket that outlives this one. Who needs them gives a bucket that has them: "
    "FuncPipeTraining(artifact_bucket=...)."
)
INBOX_OBJECTS = (
    "Names of objects on their way are made up from run, segment, attempt, iteration and micro-batch; the bucket holds "
    "nothing else."
)
DATA_OBJECTS = (
    "The plan's own data, of which a stage reads inputs or targets, is stored in as many shards as its size asks for."
)
RUN_OBJECTS = "A run's name is chosen when it is started, after the deployment."
OUTCOMES = "A run's name, segment and attempt, of which an outcome's name is made, are known when it runs."
EXECUTIONS = "Names of executions and of a Distributed Map's child executions are given when they start."
ZIP_RUNTIME = (
    "Zip packaging is for the embedded AWS, which runs functions on the project's own Python, of which 3.11 is the "
    "oldest. The image for AWS brings its own Python."
)
EXECUTION_LOG = (
    "Step Functions keeps an execution's whole history for 90 days. Its log delivery to CloudWatch would need "
    "permissions on all resources (docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html, read 2026-11-22)."
)
NO_TRACING = (
    "X-Ray is off unless asked for, FuncPipeTraining(tracing=True): its actions have no resource types, so they need "
    "leave on all resources."
)
TRACING = (
    "X-Ray was asked for, and its actions have no resource types, so AWS requires leave on all resources "
    "(docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html, read 2026-11-22)."
)
INTERFACES = (
    "Lambda makes and removes the network interfaces of a function in a VPC by the function's role, and AWS requires "
    "leave on all resources; the same policy denies it to the code that runs in functions "
    "(docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html, read 2026-11-24)."
)
NOT_RENDERED = (
    "CDK makes this policy for a Distributed Map, but it is attached to no role and not in the template: "
    "infra/workflow.py grants these actions itself, on this state machine alone."
)


def acknowledge(construct: IConstruct, finding: str, reason: str) -> None:
    """Accepts one finding, e.g. "S1" or "IAM5[Resource::*]", of cdk-nag's AwsSolutions for ``construct``."""
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{finding}", reason=reason))


def acknowledge_inbox(inbox: s3.Bucket) -> None:
    acknowledge(inbox, "S1", INBOX_LOGS)


def acknowledge_artifacts(artifacts: s3.Bucket) -> None:
    acknowledge(artifacts, "S1", ARTIFACT_LOGS)


def acknowledge_stage_role(
    role: IConstruct,
    *,
    inboxes: Iterable[s3.IBucket],
    artifacts: s3.IBucket,
    patterns: Iterable[str],
    tracing: bool,
    in_vpc: bool,
) -> None:
    """``inboxes``: those that the role's stage reads or writes; ``patterns``: of artifacts."""
    for inbox in inboxes:
        acknowledge(role, _on(role, inbox.arn_for_objects("*")), INBOX_OBJECTS)
    for pattern in patterns:
        reason = DATA_OBJECTS if pattern.startswith("data/") else RUN_OBJECTS
        acknowledge(role, _on(role, artifacts.arn_for_objects(pattern)), reason)
    if everywhere := [reason for reason, wanted in ((TRACING, tracing), (INTERFACES, in_vpc)) if wanted]:
        acknowledge(role, _on(role, "*"), " ".join(everywhere))


def acknowledge_zip_function(function: IConstruct) -> None:
    acknowledge(function, "L1", ZIP_RUNTIME)


def acknowledge_workflow(workflow: IConstruct, *, artifacts: s3.IBucket, tracing: bool) -> None:
    """The state machine, and the policies of its Distributed Maps if there are any."""
    role, machine = workflow.node.find_child("Role"), workflow.node.find_child("StateMachine")
    acknowledge(role, _on(role, artifacts.arn_for_objects(keys.OUTCOME_FORMAT.format("*", "*", "*"))), OUTCOMES)
    acknowledge(machine, "SF1", EXECUTION_LOG)
    if tracing:
        acknowledge(role, _on(role, "*"), TRACING)
    else:
        acknowledge(machine, "SF2", NO_TRACING)
    generated = machine.node.try_find_child("DistributedMapPolicy")
    granted = workflow.node.try_find_child("OwnExecutions")
    for policy, reason in ((generated, NOT_RENDERED), (granted, EXECUTIONS)):
        if policy is not None:
            for resource in _wildcards(policy):
                acknowledge(policy, _on(policy, resource), reason)


def _wildcards(policy: IConstruct) -> list[Any]:
    """The resources of a policy that end in a wildcard."""
    document = Stack.of(policy).resolve(policy.document)  # type: ignore[attr-defined]
    resources = []
    for statement in document["Statement"]:
        named = statement["Resource"]
        resources += named if isinstance(named, list) else [named]
    return [resource for resource in resources if "*" in json.dumps(resource)]


def _on(scope: IConstruct, resource: Any) -> str:
    """A permission on ``resource`` as cdk-nag names its finding."""
    return f"IAM5[Resource::{_flat(Stack.of(scope).resolve(resource))}]"


def _flat(value: Any) -> str:
    """A resolved ARN as cdk-nag writes it: references in angle brackets, other functions as JSON."""
    match value:
        case str():
            return value
        case {"Fn::Join": [separator, parts]}:
            return separator.join(_flat(part) for part in parts)
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case _:
            return json.dumps(value, separators=(",", ":"))
