"""Who may do what to which bucket: the tables from which policies are made.

    worker of stage s            may
    inbox of stage s             read and delete what was sent to it; put (replicas exchange splits through it); list
    inboxes of stages s±1        put
    artifact bucket              read the run; put its records, outcomes and layers; list
      of the first stage         read the inputs of the plan's own data; delete layers: its first worker sweeps
      of the last stage          read its targets

Workers await objects by GET of a key that does not exist yet, and never list. Yet S3 answers such a GET with
404 NoSuchKey only to a caller who may list the bucket, and with 403 AccessDenied to any other: hence s3:ListBucket
where a worker reads, without a condition on the prefix, which a GET does not carry.
(docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, read 2026-11-21)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from runtime import keys


class Place(StrEnum):
    """A bucket as seen from a stage."""

    OWN_INBOX = "own inbox"
    NEIGHBOUR_INBOX = "inbox of a stage before or after"
    ARTIFACTS = "artifact bucket"


class Position(StrEnum):
    """Of a stage that may do more than others; a single stage is both."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True)
class Access:
    """``actions`` allowed on objects whose keys match one of ``objects``, or on the bucket when there is none.

    DATASET stands for the digest of the plan's data. ``of``: the stage that this is for, if not for all.
    """

    place: Place
    actions: tuple[str, ...]
    objects: tuple[str, ...] = ()
    of: Position | None = None


DATASET = "DATASET"
_INPUTS = (keys.data_index(DATASET), f"data/{DATASET}/train-input-*")
_TARGETS = (keys.data_index(DATASET), f"data/{DATASET}/train-target-*")
_OUTCOMES = keys.OUTCOME_FORMAT.format("*", "*", "*")
_LAYERS = f"{keys.layers_prefix('*')}*"

WORKER_ACCESS = (
    Access(Place.OWN_INBOX, ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"), ("*",)),
    Access(Place.OWN_INBOX, ("s3:ListBucket",)),
    Access(Place.NEIGHBOUR_INBOX, ("s3:PutObject",), ("*",)),
    Access(Place.ARTIFACTS, ("s3:GetObject",), _INPUTS, of=Position.FIRST),
    Access(Place.ARTIFACTS, ("s3:GetObject",), _TARGETS, of=Position.LAST),
    Access(Place.ARTIFACTS, ("s3:GetObject",), ("runs/*",)),
    Access(Place.ARTIFACTS, ("s3:PutObject",), (f"{keys.segments_prefix('*')}*", _OUTCOMES, _LAYERS)),
    Access(Place.ARTIFACTS, ("s3:DeleteObject",), (_LAYERS,), of=Position.FIRST),
    Access(Place.ARTIFACTS, ("s3:ListBucket",)),
)
STARTER_ACCESS = (
    Access(Place.ARTIFACTS, ("s3:GetObject", "s3:PutObject"), ("data/*", "runs/*")),
    Access(Place.ARTIFACTS, ("s3:ListBucket",)),
)
"""Of whoever starts, watches, stops and reports on runs."""

_KEY_ACTIONS = ("kms:Decrypt", "kms:GenerateDataKey")
"""What S3 does with a key for a GET and a PUT (docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html,
read 2026-11-22)."""


def neighbours(stage: int, stages: int) -> list[int]:
    """The stages that a worker of ``stage`` sends activations and gradients to."""
    return [other for other in (stage - 1, stage + 1) if 0 <= other < stages]


def worker_access(stage: int, stages: int, dataset_sha256: str) -> list[Access]:
    """The rows of ``WORKER_ACCESS`` that hold for a worker of ``stage``, with the plan's own data."""
    positions = {position for position, at in ((Position.FIRST, 0), (Position.LAST, stages - 1)) if stage == at}
    return [
        replace(access, objects=tuple(pattern.replace(DATASET, dataset_sha256) for pattern in access.objects))
        for access in WORKER_ACCESS
        if access.of is None or access.of in positions
    ]


def artifact_patterns(stage: int, stages: int, dataset_sha256: str) -> list[str]:
    """Of objects of the artifact bucket that a worker of ``stage`` may do anything with; not names that are whole."""
    rows = worker_access(stage, stages, dataset_sha256)
    found = (pattern for access in rows if access.place is Place.ARTIFACTS for pattern in access.objects)
    return [pattern for pattern in dict.fromkeys(found) if "*" in pattern]


def worker_statements(
    *,
    stage: int,
    stages: int,
    own_inbox: s3.IBucket,
    neighbour_inboxes: Iterable[s3.IBucket],
    artifacts: s3.IBucket,
    dataset_sha256: str,
) -> list[iam.PolicyStatement]:
    """``WORKER_ACCESS`` as policy statements on the buckets of one stage, and the use of the buckets' keys."""
    return _statements(
        worker_access(stage, stages, dataset_sha256),
        {
            Place.OWN_INBOX: [own_inbox],
            Place.NEIGHBOUR_INBOX: list(neighbour_inboxes),
            Place.ARTIFACTS: [artifacts],
        },
    )


def workflow_statements(artifacts: s3.IBucket) -> list[iam.PolicyStatement]:
    """Of the state machine, on the runs' outcomes: it reads and writes them, and must be told which is not there."""
    outcomes = artifacts.arn_for_objects(_OUTCOMES)
    return [
        iam.PolicyStatement(actions=["s3:GetObject", "s3:PutObject"], resources=[outcomes]),
        iam.PolicyStatement(actions=["s3:ListBucket"], resources=[artifacts.bucket_arn]),
        *key_statements([artifacts]),
    ]


def starter_statements(
    *,
    artifacts: s3.IBucket,
    state_machine_arn: str,
    executions_arn: str,
    stack_arn: str,
    function_arns: Sequence[str],
    log_group_arn: str,
) -> list[iam.PolicyStatement]:
    """``STARTER_ACCESS`` as policy statements, and what else the ``funcpipe`` command asks of AWS for a run."""
    return [
        *_statements(STARTER_ACCESS, {Place.ARTIFACTS: [artifacts]}),
        iam.PolicyStatement(actions=["states:StartExecution", "states:ListExecutions"], resources=[state_machine_arn]),
        iam.PolicyStatement(actions=["states:DescribeExecution", "states:StopExecution"], resources=[executions_arn]),
        iam.PolicyStatement(
            actions=["cloudformation:DescribeStacks", "cloudformation:ListStackResources"], resources=[stack_arn]
        ),
        iam.PolicyStatement(
            actions=["lambda:GetFunctionConcurrency", "lambda:GetFunctionConfiguration"], resources=list(function_arns)
        ),
        iam.PolicyStatement(actions=["logs:FilterLogEvents"], resources=[log_group_arn]),
    ]


def tracing_statement() -> iam.PolicyStatement:
    """Leave to send traces, for functions and state machines.

    X-Ray has no resource types, so AWS requires "*".
    (docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html, read 2026-11-22)
    """
    return iam.PolicyStatement(
        actions=[
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ],
        resources=["*"],
    )


def _statements(table: Iterable[Access], buckets: Mapping[Place, Sequence[s3.IBucket]]) -> list[iam.PolicyStatement]:
    statements = []
    for access in table:
        resources = [
            resource
            for bucket in buckets[access.place]
            for resource in (
                [bucket.arn_for_objects(pattern) for pattern in access.objects]
                if access.objects
                else [bucket.bucket_arn]
            )
        ]
        if resources:
            statements.append(iam.PolicyStatement(actions=list(access.actions), resources=resources))
    return [*statements, *key_statements(bucket for group in buckets.values() for bucket in group)]


def key_statements(buckets: Iterable[s3.IBucket]) -> list[iam.PolicyStatement]:
    """The use of the keys that the buckets' objects are encrypted with; nothing for SSE-S3."""
    arns = sorted({bucket.encryption_key.key_arn for bucket in buckets if bucket.encryption_key})
    return [iam.PolicyStatement(actions=list(_KEY_ACTIONS), resources=arns)] if arns else []
