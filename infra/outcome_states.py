"""States that read and write the outcome of an attempt (docs/protocol.md): one object, which the first writer decides.

Which error a lost conditional put has is not relied on: S3's API reference does not list 412 PreconditionFailed among
PutObject's errors, so Step Functions would call it S3.S3Exception like any other
(docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html), and the SDK has been seen to report it
with status 200 (github.com/aws/aws-sdk-java-v2/issues/6023). After any error the outcome is read: what is there
decides.

A GET of a key that is not there is S3.NoSuchKeyException (github.com/localstack/localstack/issues/12139 shows AWS's own
history), provided that the role may list the bucket. All read 2026-11-24.
"""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.history import STORAGE_TRIES
from runtime import keys
from runtime.records import WorkerEvent

NOT_THERE = "S3.NoSuchKeyException"
FOUND = "$.outcome.found"
"""Where the states' data has the outcome that was read."""
_KEY = f"States.Format('{keys.OUTCOME_FORMAT}', $.run, $.segment, $.attempt)"
_NOW = "$$.State.EnteredTime"


class OutcomeStates:
    """Makes the states below ``scope``, for outcomes in ``artifacts``."""

    def __init__(self, scope: Construct, *, artifacts: s3.IBucket) -> None:
        self._scope, self._artifacts = scope, artifacts

    def read(self, name: str) -> tasks.CallAwsService:
        """A state that reads the outcome to ``FOUND``; its error is ``NOT_THERE`` when there is none."""
        read = self._call(name, "getObject", {}, selector={"found.$": "States.StringToJson($.Body)"})
        read.add_retry(errors=[NOT_THERE], max_attempts=0)
        return _repeated(read)

    def abort(self, name: str) -> tasks.CallAwsService:
        """A state that aborts the attempt of a gang that has ended without an outcome."""
        what = "'segment {}, attempt {}: {}: {}', $.segment, $.attempt, $.failure.Error, $.failure.Cause"
        body = {
            "outcome": "aborted",
            "reason": "failure",
            "retryable": True,
            "message.$": f"States.Format({what})",
            "begun_at.$": "$.begun_at",
            "at.$": _NOW,
        }
        return _repeated(self._put(name, body))

    def abort_for_worker(self, stage: int) -> tasks.CallAwsService:
        """A state that aborts the attempt in the name of a worker that has left no word.

        Its input is the worker's event, ``begun_at``, ``failure`` (what Step Functions says) and ``told`` (its kind,
        and whether it is retryable). A worker that has decided the outcome before it died keeps its word.
        """
        who = "stage {}, replica {}, segment {}, attempt {}"
        where = "$.stage, $.replica, $.segment, $.attempt"
        body = {
            "outcome": "aborted",
            "reason": "failure",
            "retryable.$": "$.told.retryable",
            "message.$": f"States.Format('{who}: {{}}: {{}}', {where}, $.failure.Error, $.failure.Cause)",
            "failure": {
                "event": {f"{field}.$": f"$.{field}" for field in WorkerEvent.model_fields},
                "kind.$": "$.told.kind",
                "error.$": "States.Format('{}: {}', $.failure.Error, $.failure.Cause)",
                "at.$": _NOW,
            },
            "begun_at.$": "$.begun_at",
            "at.$": _NOW,
        }
        return self._put(f"Abort for stage {stage}", body)

    def _put(self, name: str, body: Mapping[str, Any]) -> tasks.CallAwsService:
        """Body is JSON, not text, since Step Functions would write text with quotation marks around it."""
        content = {"Body": body, "ContentType": "application/json", "IfNoneMatch": "*"}
        return self._call(name, "putObject", content)

    def _call(
        self, name: str, action: str, content: Mapping[str, Any], selector: Mapping[str, Any] | None = None
    ) -> tasks.CallAwsService:
        return tasks.CallAwsService(
            self._scope,
            name,
            service="s3",
            action=action,
            parameters={"Bucket": self._artifacts.bucket_name, "Key.$": _KEY, **content},
            iam_resources=[self._artifacts.arn_for_objects("*")],
            result_selector=selector,
            result_path="$.outcome" if selector else sfn.JsonPath.DISCARD,
        )


def _repeated(state: tasks.CallAwsService) -> tasks.CallAwsService:
    state.add_retry(errors=[sfn.Errors.ALL], interval=Duration.seconds(1), backoff_rate=2, max_attempts=STORAGE_TRIES)
    return state
