"""A run as a state machine whose graph shows the pipeline, and the decisions of docs/protocol.md, "Next".

    Prepare ─► Segment: all workers at once ◄───────────────────────────────────────────── Room in this execution? ◄─┐
                   │  ├ Stage 0: layers 0-2, 1024 MB x 2 ─ Map ─ worker, worker              │ no                   │
                   │  └ Stage 1: layers 3-5, 2048 MB x 1 ─ Map ─ worker                      ▼                      │
                   ▼ ended, or one worker failed                                    Start the next execution        │
              Read the outcome ─ none ─► Abort ─► Read what stands                                                  │
                   ▼                                    ▼                                                           │
               Committed? ◄─────────────────────────────┘                                                           │
                   ├ yes ─► Why did it end? ┬ time ─────────────────────────────────────────► Next segment ─────────┤
                   │                        └ finished, budget, stopped ─► the run's end                            │
                   └ no ──► Try again? ┬ retryable, attempts left ─► Back off, wait ────────► Next attempt ─────────┘
                                       └ otherwise ─► Run failed

Input of an execution: {"run": RUN, "segment": 0, "attempt": 0, "commit": "initial"}, or where another one left off. The
execution's history (kept for 90 days) is its log: a log group would need permissions on all resources.
"""

from collections.abc import Sequence

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.access import tracing_statement, workflow_statements
from infra.gang import Gang, stage_label
from infra.history import LONGEST_BACK_OFF_S, STORAGE_TRIES, attempt_s, attempts_per_execution
from infra.outcome_states import FOUND, NOT_THERE, OutcomeStates
from runtime import manifest as plan
from runtime.limits import STATES_INLINE_MAP_CONCURRENCY
from runtime.records import EndReason, FailureKind

_ENDS = {
    EndReason.FINISHED: "Run complete",
    EndReason.BUDGET: "Budget spent",
    EndReason.STOPPED: "Run stopped",
}
"""The names of the run's last state, by the last commit's reason."""
_INPUT = ("run", "segment", "attempt", "commit")
_FIRST_BACK_OFF_S = 5


class Workflow(Construct):
    """The state machine, with leave to invoke exactly the stages' aliases, and to read and write outcomes.

    Args:
        functions: the aliases of the manifest's stages, in order.
        artifacts: the bucket of the runs' records.
        tracing: executions are traced by X-Ray.

    Raises:
        UserInputError: an attempt would outgrow an execution's history, or its commit a state's data.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        manifest: plan.Manifest,
        functions: Sequence[lambda_.IAlias],
        artifacts: s3.IBucket,
        tracing: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        self._attempts = attempts_per_execution(manifest)
        self._manifest, self._outcomes = manifest, OutcomeStates(self, artifacts=artifacts)
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
                "DecideOutcomes": iam.PolicyDocument(statements=workflow_statements(artifacts)),
                **({"Tracing": iam.PolicyDocument(statements=[tracing_statement()])} if tracing else {}),
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
            timeout=Duration.seconds(self._attempts * attempt_s(manifest)),
            # What CDK would add by itself also allows what is below the aliases' ARNs.
            role=role.without_policy_updates(),
            tracing_enabled=tracing or None,
        )
        self._allow_own_executions(role)

    def _definition(self, functions: Sequence[lambda_.IFunction]) -> sfn.IChainable:
        segment = Gang(self, manifest=self._manifest, functions=functions, outcomes=self._outcomes).state
        prepare = sfn.Pass(
            self,
            "Prepare",
            parameters={
                **{f"{field}.$": f"$.{field}" for field in _INPUT},
                "begun_at.$": "$$.State.EnteredTime",
                "left": self._attempts - 1,
                "manifest_sha256": "${ManifestSha256}",
                "failure": _NO_FAILURE,
                "replicas": {
                    f"stage{index}.$": f"States.ArrayRange(0, {stage.replicas - 1}, 1)"
                    for index, stage in enumerate(self._manifest.stages)
                },
            },
        )
        read = self._outcomes.read("Read the outcome")
        segment.add_catch(read, errors=[sfn.Errors.ALL], result_path="$.failure")
        return prepare.next(segment).next(self._decided(read, self._room(segment)))

    def _decided(self, read: sfn.TaskStateBase, again: sfn.IChainable) -> sfn.TaskStateBase:
        """``read``, and all that follows from the outcome, up to ``again``: an attempt at this segment or the next."""
        unknown = sfn.Fail(
            self,
            "Outcome unknown",
            error="OutcomeUnknown",
            cause_path="$.unread.Cause",
            comment="Another attempt could run beside this one: the run ends, resumable from its last commit",
        )
        committed = sfn.Choice(self, "Committed?")
        committed.when(_says("outcome", "committed"), self._why_ended(again))
        committed.when(_says("outcome", "aborted"), self._try_again(again))
        committed.otherwise(
            sfn.Fail(self, "Outcome not understood", error="OutcomeUnknown", cause="neither committed nor aborted")
        )
        stands = self._outcomes.read("Read what stands")
        stands.add_catch(unknown, errors=[sfn.Errors.ALL], result_path="$.unread")
        abort = self._outcomes.abort("Abort the attempt")
        abort.add_catch(stands, errors=[sfn.Errors.ALL], result_path="$.unwritten")
        abort.next(stands).next(committed)
        read.add_catch(abort, errors=[NOT_THERE], result_path="$.unread")
        read.add_catch(unknown, errors=[sfn.Errors.ALL], result_path="$.unread")
        read.next(committed)
        return read

    def _why_ended(self, again: sfn.IChainable) -> sfn.IChainable:
        following = self._begin(
            "Next segment",
            segment="States.MathAdd($.segment, 1)",
            attempt="States.MathAdd(0, 0)",
            commit="States.Format('{}-{}', $.segment, $.attempt)",
        ).next(again)
        why = sfn.Choice(self, "Why did it end?")
        for reason in EndReason:
            ends = following if reason.goes_on else sfn.Succeed(self, _ENDS[reason])
            why.when(_says("reason", reason.value), ends)
        return why.otherwise(
            sfn.Fail(self, "Reason not understood", error="OutcomeUnknown", cause="a commit without a known reason")
        )

    def _try_again(self, again: sfn.IChainable) -> sfn.IChainable:
        """Another attempt if it may fare better. While a function refuses to start, a worker of an attempt before may
        hang in it, which Lambda ends at the time-out: so long it is waited for, at no cost."""
        failed = sfn.Fail(self, "Run failed", error="SegmentAborted", cause_path=f"{FOUND}.message")
        following = self._begin("Next attempt", attempt="States.MathAdd($.attempt, 1)").next(again)
        limits = ", ".join(str(_longest_back_off_s(attempt) + 1) for attempt in range(self._manifest.segment.attempts))
        back_off = sfn.Pass(
            self,
            "Back off",
            parameters={"s.$": f"States.MathRandom(1, States.ArrayGetItem(States.Array({limits}), $.attempt))"},
            result_path="$.wait",
        )
        back_off.next(sfn.Wait(self, "Wait", time=sfn.WaitTime.seconds_path("$.wait.s"))).next(following)
        occupied = sfn.Wait(
            self,
            "Wait for functions to be free",
            time=sfn.WaitTime.duration(Duration.seconds(self._manifest.segment.timeout_s)),
        ).next(following)
        retryable = sfn.Condition.and_(
            sfn.Condition.boolean_equals(f"{FOUND}.retryable", True),
            sfn.Condition.number_less_than("$.attempt", self._manifest.segment.attempts - 1),
        )
        throttled = sfn.Condition.and_(
            retryable, sfn.Condition.is_present(f"{FOUND}.failure.kind"), _says("failure.kind", FailureKind.THROTTLED)
        )
        return sfn.Choice(self, "Try again?").when(throttled, occupied).when(retryable, back_off).otherwise(failed)

    def _room(self, segment: sfn.IChainable) -> sfn.IChainable:
        """The next attempt in this execution, or in a new one: then the name of the new one is in ``$.continued``."""
        start = sfn.CustomState(
            self,
            "Start the next execution",
            state_json={
                "Type": "Task",
                "Resource": f"arn:{Stack.of(self).partition}:states:::states:startExecution",
                "Parameters": {
                    "StateMachineArn.$": "$$.StateMachine.Id",
                    # One name for one attempt: repeated, it is still one execution.
                    "Name.$": "States.Format('{}_{}_{}', $.run, $.segment, $.attempt)",
                    "Input": {f"{field}.$": f"$.{field}" for field in _INPUT},
                },
                "ResultPath": "$.continued",
            },
        )
        start.add_retry(
            errors=[sfn.Errors.ALL], interval=Duration.seconds(1), backoff_rate=2, max_attempts=STORAGE_TRIES
        )
        start.next(sfn.Succeed(self, "Continued by the next execution"))
        room = sfn.Choice(self, "Room in this execution?")
        return room.when(sfn.Condition.number_greater_than_equals("$.left", 0), segment).otherwise(start)

    def _begin(self, name: str, **changed: str) -> sfn.Pass:
        """A state that begins another attempt: all data as before, but for what is ``changed``."""
        same = {field: f"$.{field}" for field in (*_INPUT, "manifest_sha256", "replicas")}
        told = {"begun_at": "$$.State.EnteredTime", "left": "States.MathAdd($.left, -1)"}
        parameters = {f"{field}.$": value for field, value in {**same, **told, **changed}.items()}
        return sfn.Pass(self, name, parameters={**parameters, "failure": _NO_FAILURE})

    def _allow_own_executions(self, role: iam.Role) -> None:
        """A run may go on in another execution of its state machine; a Distributed Map starts child executions of it.

        A policy of its own, since the state machine depends on its role, whose policies cannot name it therefore.
        (docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html, read 2026-11-21)
        """
        machine = self.state_machine
        statements = [iam.PolicyStatement(actions=["states:StartExecution"], resources=[machine.state_machine_arn])]
        if any(stage.replicas > STATES_INLINE_MAP_CONCURRENCY for stage in self._manifest.stages):
            executions = Stack.of(self).format_arn(
                service="states",
                resource="execution",
                resource_name=f"{machine.state_machine_name}/*",
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
            actions = ["states:DescribeExecution", "states:StopExecution"]
            statements.append(iam.PolicyStatement(actions=actions, resources=[executions]))
        iam.Policy(self, "OwnExecutions", roles=[role], statements=statements)


_NO_FAILURE = {"Error": "NoOutcome", "Cause": "all workers ended well, and there is no outcome"}


def _says(field: str, value: str) -> sfn.Condition:
    return sfn.Condition.string_equals(f"{FOUND}.{field}", value)


def _longest_back_off_s(attempt: int) -> int:
    """The back-off is random up to this, so that gangs which failed together do not come back together."""
    return min(LONGEST_BACK_OFF_S, _FIRST_BACK_OFF_S * 2**attempt)
