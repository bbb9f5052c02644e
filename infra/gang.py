"""One attempt at a segment, as states: all workers at once, each of which is told of if it cannot tell itself.

    Segment ─┬ Stage 0 ─ Map ─ Worker ─┬─► end
             │                         ├─ it left its records ───────────────────────► Stage 0 failed
             └ Stage 1 ─ Map ─ ...     └─ it left none: throttled, broken or died ─► Abort ─► Stage 0 failed

A worker that raises leaves its own records and its attempt's outcome. One that dies (killed, out of memory or time)
cannot, so the workflow writes the outcome for it: the others then stop within seconds, even where Parallel's end leaves
their functions running.

No worker is started twice: a gang whose worker has failed cannot go on with a new one, so what may be repeated is a
whole attempt from the last commit. Only a start that Lambda throttles is tried again, for half a minute: the
concurrency of the gang before is released a moment after its end. Workers' results are discarded, as they report to
the artifact bucket, which keeps the state's data far below 256 KiB.
"""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.history import START_SLACK_S, THROTTLED_TRIES
from infra.outcome_states import OutcomeStates
from runtime import manifest as plan
from runtime.errors import WorkerFailed
from runtime.limits import STATES_INLINE_MAP_CONCURRENCY, STATES_NAME_CHARACTERS
from runtime.records import FailureKind, WorkerEvent

_BROKEN = (
    "Lambda.AccessDeniedException",
    "Lambda.ResourceNotFoundException",
    "Runtime.HandlerNotFound",
    "Runtime.ImportModuleError",
    "Runtime.MalformedHandlerName",
    "Runtime.UserCodeSyntaxError",
    "States.Permissions",
)
"""Errors that every attempt would meet again: of Lambda's API, of the Python runtime client before it has a handler
(github.com/aws/aws-lambda-python-runtime-interface-client, bootstrap.py, read 2026-11-24), of the role."""


def stage_label(index: int, stage: plan.Stage) -> str:
    """Name of a stage's state: unique by its index, and at most 80 characters."""
    label = f"Stage {index}: {stage.layers_label}, {stage.memory_mb} MB x {stage.replicas}"
    return label[:STATES_NAME_CHARACTERS]


class Gang:
    """Makes the states below ``scope``.

    Args:
        functions: of the manifest's stages, in order.
        outcomes: makes the states that write an attempt's outcome.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        manifest: plan.Manifest,
        functions: Sequence[lambda_.IFunction],
        outcomes: OutcomeStates,
    ) -> None:
        self._scope, self._outcomes = scope, outcomes
        self._timeout = sfn.Timeout.duration(Duration.seconds(manifest.segment.timeout_s + START_SLACK_S))
        self.state = sfn.Parallel(
            scope, "Segment", comment="One gang: all workers of all stages at once", result_path=sfn.JsonPath.DISCARD
        )
        for index, (stage, function) in enumerate(zip(manifest.stages, functions, strict=True)):
            self.state.branch(self._stage(index, stage, function))

    def _stage(self, index: int, stage: plan.Stage, function: lambda_.IFunction) -> sfn.IChainable:
        """A Map over the replicas of one stage, each iteration one worker."""
        items = f"$.replicas.stage{index}"
        options: dict[str, Any] = {
            "state_name": f"${{Stage{index}}}",
            "comment": ", ".join(stage.modules),
            "items_path": items,
            "item_selector": {
                **{f"{field}.$": f"$.{field}" for field in (*_CARRIED, "begun_at")},
                "stage": index,
                "replica.$": "$$.Map.Item.Value",
            },
            "max_concurrency": stage.replicas,
            "result_path": sfn.JsonPath.DISCARD,
        }
        workers: sfn.Map | sfn.DistributedMap
        if stage.replicas <= STATES_INLINE_MAP_CONCURRENCY:
            workers = sfn.Map(self._scope, f"Stage {index}", **options)
        else:
            standard = sfn.StateMachineType.STANDARD
            workers = sfn.DistributedMap(self._scope, f"Stage {index}", map_execution_type=standard, **options)
        return workers.item_processor(self._worker(index, function))

    def _worker(self, index: int, function: lambda_.IFunction) -> sfn.IChainable:
        """Invokes the function; its state's input is the worker's event, and when the attempt began."""
        worker = tasks.LambdaInvoke(
            self._scope,
            f"Worker of stage {index}",
            lambda_function=function,
            payload=sfn.TaskInput.from_object({f"{field}.$": f"$.{field}" for field in WorkerEvent.model_fields}),
            retry_on_service_exceptions=False,
            task_timeout=self._timeout,
            output_path=sfn.JsonPath.DISCARD,
        )
        worker.add_retry(
            errors=[_THROTTLED],
            interval=Duration.seconds(1),
            backoff_rate=2,
            max_attempts=THROTTLED_TRIES,
        )
        failed = sfn.Fail(
            self._scope, f"Stage {index} failed", error_path="$.failure.Error", cause_path="$.failure.Cause"
        )
        abort = self._outcomes.abort_for_worker(index)
        abort.next(failed)
        # Not to be waited for: should it not arrive, the segment's own abort will.
        abort.add_catch(failed, errors=[sfn.Errors.ALL], result_path="$.unwritten")
        worker.add_catch(failed, errors=[WorkerFailed.__name__], result_path="$.failure")
        for name, kind, errors in (
            ("was throttled", FailureKind.THROTTLED, [_THROTTLED]),
            ("is broken", FailureKind.EXCEPTION, list(_BROKEN)),
            ("died", FailureKind.DIED, [sfn.Errors.ALL]),
        ):
            told = sfn.Pass(
                self._scope,
                f"Worker of stage {index} {name}",
                result=sfn.Result.from_object({"kind": kind.value, "retryable": kind.retryable}),
                result_path="$.told",
            )
            worker.add_catch(told, errors=errors, result_path="$.failure")
            told.next(abort)
        return worker


_CARRIED = tuple(field for field in WorkerEvent.model_fields if field not in ("stage", "replica"))
_THROTTLED = "Lambda.TooManyRequestsException"
