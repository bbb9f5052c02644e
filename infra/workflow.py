"""A run as a state machine whose graph shows the pipeline.

    Prepare ─► More segments? ─► Segment: all workers at once ─────────────────────────────────► Next segment ─┐
                    ▲   │          ├ Stage 0: layers 0-2, 1024 MB x 2 ─ Map ─ worker, worker         │         │
                    │   │          └ Stage 1: layers 3-5, 2048 MB x 1 ─ Map ─ worker                 │         │
                    │   │                            │ a worker failed                               │         │
                    │   ▼                            ▼ (if it died: marker that stops its gang)      │         │
                    │  Run complete                     Run failed                                   │         │
                    └────────────────────────────────────────────────────────────────────────────────┴─────────┘
Input of an execution: {"run": RUN}. Failure has one place: the Catch of the segment.

A worker that raises leaves its own records and marker. One that dies (killed, out of memory or time) cannot, so the
workflow writes the gang's abort marker for it: the others then stop within seconds, even where Parallel's end leaves
their functions running.

No worker is started twice: a gang whose worker has failed cannot go on with a new one, so what may be repeated is a
whole segment from the last checkpoint. Only a start that Lambda throttles is tried again, for half a minute: the
concurrency of the gang before is released a moment after its end. Workers' results are discarded, as they report to
the artifact bucket, which keeps the state's data far below 256 KiB. The execution's history (kept for 90 days) is its
log: a log group would need permissions on all resources.
"""

from collections.abc import Sequence

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.access import key_statements, tracing_statement
from runtime import keys
from runtime import manifest as plan
from runtime.errors import UserInputError, WorkerFailed
from runtime.limits import (
    STATES_EXECUTION_S,
    STATES_HISTORY_EVENTS,
    STATES_INLINE_MAP_CONCURRENCY,
    STATES_NAME_CHARACTERS,
)

_SEGMENT_SLACK_S = 60
"""For starting the gang's functions and Step Functions' own work, per segment."""
_THROTTLED_TRIES = 5
"""After 1, 2, 4, 8 and 16 s: less than the workers that have started wait for the missing one."""


def stage_label(index: int, stage: plan.Stage) -> str:
    """Name of a stage's state: unique by its index, and at most 80 characters."""
    label = f"Stage {index}: {stage.layers_label}, {stage.memory_mb} MB x {stage.replicas}"
    return label[:STATES_NAME_CHARACTERS]


def history_events(manifest: plan.Manifest) -> int:
    """Events in the history of a run without failures (docs: "History events", API_HistoryEvent, read 2026-11-21).

    A state is entered and exited; a Parallel or Map state is started and succeeds besides; so does each iteration of
    an inline Map, whose task is also scheduled and started. A Distributed Map's iterations have histories of their own.
    """
    segment = 4 + 2 + 2  # Parallel; Next segment; More segments?
    for stage in manifest.stages:
        inline = stage.replicas <= STATES_INLINE_MAP_CONCURRENCY
        segment += 4 + (2 + 5) * stage.replicas if inline else 6
    return 2 + 2 + 2 + 2 + segment * manifest.segments  # execution; Prepare; the last More segments?; Run complete


class Workflow(Construct):
    """The state machine, with leave to invoke exactly the functions of the stages and to write abort markers.

    Args:
        functions: of the manifest's stages, in order.
        artifacts: the bucket of the runs' records.
        tracing: executions are traced by X-Ray.

    Raises:
        UserInputError: the run would outgrow an execution's history or lifetime.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        manifest: plan.Manifest,
        functions: Sequence[lambda_.IFunction],
        artifacts: s3.IBucket,
        tracing: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        timeout_s = (manifest.segments + 1) * (manifest.segment.timeout_s + _SEGMENT_SLACK_S)
        _check_limits(manifest, timeout_s)
        self._manifest, self._artifacts = manifest, artifacts
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("states.amazonaws.com"),
            inline_policies={
                "InvokeStages": iam.PolicyDocument(
                    statements=[
                        iam.PolicyStatement(
                            actions=["lambda:InvokeFunction"],
                            resources=[function.function_arn for function in functions],
                        )
                    ]
                ),
                "AbortGangs": iam.PolicyDocument(
                    statements=[
                        iam.PolicyStatement(
                            actions=["s3:PutObject"],
                            resources=[artifacts.arn_for_objects(keys.OUTCOME_FORMAT.format("*", "*", "*"))],
                        ),
                        *key_statements([artifacts]),
                    ]
                ),
            },
        )
        self.state_machine = sfn.StateMachine(
            self,
            "StateMachine",
            comment=f"FuncPipe training of {manifest.name}: {len(manifest.stages)} stages, {manifest.workers} workers",
            definition_body=sfn.DefinitionBody.from_chainable(self._definition(functions)),
            state_machine_type=sfn.StateMachineType.STANDARD,
            # What a new plan changes most stands apart, so that `cdk diff` shows it and not the whole definition.
            definition_substitutions={
                "ManifestSha256": manifest.sha256,
                **{f"Stage{index}": stage_label(index, stage) for index, stage in enumerate(manifest.stages)},
            },
            timeout=Duration.seconds(timeout_s),
            # What CDK would add by itself also allows every version and alias of the functions.
            role=role.without_policy_updates(),
            tracing_enabled=tracing or None,
        )
        if tracing:
            iam.Policy(self, "Tracing", roles=[role], statements=[tracing_statement()])
        if any(stage.replicas > STATES_INLINE_MAP_CONCURRENCY for stage in manifest.stages):
            self._allow_distributed_map(role)

    def _definition(self, functions: Sequence[lambda_.IFunction]) -> sfn.IChainable:
        stages = self._manifest.stages
        prepare = sfn.Pass(
            self,
            "Prepare",
            parameters={
                "run.$": "$.run",
                "segment": 0,
                "attempt": 0,
                "manifest_sha256": "${ManifestSha256}",
                "replicas": {
                    f"stage{index}.$": f"States.ArrayRange(0, {stage.replicas - 1}, 1)"
                    for index, stage in enumerate(stages)
                },
            },
        )
        segment = sfn.Parallel(
            self, "Segment", comment="One gang: all workers of all stages at once", result_path=sfn.JsonPath.DISCARD
        )
        for index, (stage, function) in enumerate(zip(stages, functions, strict=True)):
            segment.branch(self._stage(index, stage, function))
        failed = sfn.Fail(
            self, "Run failed", error_path="$.failure.Error", cause_path="$.failure.Cause", comment="A worker failed"
        )
        segment.add_catch(failed, errors=[sfn.Errors.ALL], result_path="$.failure")
        advance = sfn.Pass(
            self,
            "Next segment",
            parameters={
                "run.$": "$.run",
                "segment.$": "States.MathAdd($.segment, 1)",
                "attempt": 0,
                "manifest_sha256.$": "$.manifest_sha256",
                "replicas.$": "$.replicas",
            },
        )
        more = sfn.Choice(self, "More segments?", comment=f"{self._manifest.segments} in all")
        more.when(sfn.Condition.number_less_than("$.segment", self._manifest.segments), segment)
        more.otherwise(sfn.Succeed(self, "Run complete"))
        segment.next(advance).next(more)
        return prepare.next(more)

    def _stage(self, index: int, stage: plan.Stage, function: lambda_.IFunction) -> sfn.IChainable:
        """A Map over the replicas of one stage, each iteration one worker."""
        event = {
            "run.$": "$.run",
            "segment.$": "$.segment",
            "attempt.$": "$.attempt",
            "stage": index,
            "replica.$": "$$.Map.Item.Value",
            "manifest_sha256.$": "$.manifest_sha256",
        }
        label, name, items = f"Stage {index}", f"${{Stage{index}}}", f"$.replicas.stage{index}"
        comment = ", ".join(stage.modules)
        if stage.replicas <= STATES_INLINE_MAP_CONCURRENCY:
            workers: sfn.Map | sfn.DistributedMap = sfn.Map(
                self,
                label,
                state_name=name,
                comment=comment,
                items_path=items,
                item_selector=event,
                max_concurrency=stage.replicas,
                result_path=sfn.JsonPath.DISCARD,
            )
        else:
            workers = sfn.DistributedMap(
                self,
                label,
                state_name=name,
                comment=comment,
                items_path=items,
                item_selector=event,
                max_concurrency=stage.replicas,
                map_execution_type=sfn.StateMachineType.STANDARD,
                result_path=sfn.JsonPath.DISCARD,
            )
        return workers.item_processor(self._worker(index, function))

    def _worker(self, index: int, function: lambda_.IFunction) -> sfn.IChainable:
        """Invokes the function; its state's input is the worker's event."""
        worker = tasks.LambdaInvoke(
            self,
            f"Worker of stage {index}",
            lambda_function=function,
            retry_on_service_exceptions=False,
            output_path=sfn.JsonPath.DISCARD,
        )
        worker.add_retry(
            errors=["Lambda.TooManyRequestsException"],
            interval=Duration.seconds(1),
            backoff_rate=2,
            max_attempts=_THROTTLED_TRIES,
        )
        failed = sfn.Fail(self, f"Stage {index} failed", error_path="$.failure.Error", cause_path="$.failure.Cause")
        abort = self._abort(index)
        abort.next(failed)
        # The worker's own failure stands, whether or not its peers could be told.
        abort.add_catch(failed, errors=[sfn.Errors.ALL], result_path="$.abort")
        worker.add_catch(failed, errors=[WorkerFailed.__name__], result_path="$.failure")
        worker.add_catch(abort, errors=[sfn.Errors.ALL], result_path="$.failure")
        return worker

    def _abort(self, index: int) -> tasks.CallAwsService:
        """Writes the gang's abort marker, a ``runtime.records.Abort``, for a worker that has left none.

        It may replace another worker's marker, which says as well that the gang must stop. Body is JSON, not text,
        since Step Functions would write text with quotation marks around it.
        """
        who = "stage {}, replica {}, segment {}, attempt {}"
        where = "$.stage, $.replica, $.segment, $.attempt"
        event = ("run", "segment", "attempt", "stage", "replica", "manifest_sha256")
        failure = {
            "event": {f"{field}.$": f"$.{field}" for field in event},
            "kind": "died",
            "error.$": "States.Format('{}: {}', $.failure.Error, $.failure.Cause)",
            "at.$": "$$.State.EnteredTime",
        }
        marker = {
            "reason": "failure",
            "message.$": f"States.Format('{who}: {{}}: {{}}', {where}, $.failure.Error, $.failure.Cause)",
            "failure": failure,
            "at.$": "$$.State.EnteredTime",
        }
        return tasks.CallAwsService(
            self,
            f"Worker of stage {index} died",
            comment="Make its gang stop",
            service="s3",
            action="putObject",
            parameters={
                "Bucket": self._artifacts.bucket_name,
                "Key.$": f"States.Format('{keys.OUTCOME_FORMAT}', $.run, $.segment, $.attempt)",
                "Body": marker,
                "ContentType": "application/json",
            },
            iam_resources=[self._artifacts.arn_for_objects("*")],
            result_path=sfn.JsonPath.DISCARD,
        )

    def _allow_distributed_map(self, role: iam.Role) -> None:
        """A Distributed Map starts child executions of its own state machine.

        A policy of its own, since the state machine depends on its role, whose policies cannot name it therefore.
        (docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html, read 2026-11-21)
        """
        machine = self.state_machine
        executions = Stack.of(self).format_arn(
            service="states",
            resource="execution",
            resource_name=f"{machine.state_machine_name}/*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        iam.Policy(
            self,
            "DistributedMap",
            roles=[role],
            statements=[
                iam.PolicyStatement(actions=["states:StartExecution"], resources=[machine.state_machine_arn]),
                iam.PolicyStatement(
                    actions=["states:DescribeExecution", "states:StopExecution"], resources=[executions]
                ),
            ],
        )


def _check_limits(manifest: plan.Manifest, timeout_s: int) -> None:
    events = history_events(manifest)
    if events > STATES_HISTORY_EVENTS:
        raise UserInputError(
            f"the run has too many segments for one execution of Step Functions (segments: {manifest.segments}, "
            f"workers: {manifest.workers}, history events: {events}, limit: {STATES_HISTORY_EVENTS}). "
            "Plan again with longer segments (a longer timeout), fewer iterations or fewer replicas."
        )
    if timeout_s > STATES_EXECUTION_S:
        raise UserInputError(
            f"the run could take longer than an execution of Step Functions may (seconds: {timeout_s}, "
            f"limit: {STATES_EXECUTION_S}). Plan again with fewer iterations."
        )
