"""A deployed training stack: finding it, and starting, describing and stopping executions of its state machine."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from launch.following import Ending
from launch.session import aws_errors, client, error_code
from runtime.errors import UserInputError
from runtime.keys import INITIAL
from runtime.manifest import Manifest

_OUTPUTS = ("ArtifactBucket", "StateMachineArn", "ManifestSha256")
_USABLE = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"}
)


_CONTINUED = "_"
"""Between a run's id, which has none, and the rest of the name of an execution in which the run goes on."""


def default_stack_name(manifest: Manifest) -> str:
    """The name that ``app.py`` gives the stack of ``manifest``."""
    return f"funcpipe-{manifest.name}"


def _deploy_command(manifest_path: str, stack: str, manifest: Manifest, embedded: bool) -> str:
    other_name = "" if stack == default_stack_name(manifest) else f" -c stack={stack}"
    prefix, packaging = ("funcpipe local exec -- ", " -c packaging=zip") if embedded else ("", "")
    return f"{prefix}npx cdk deploy -c manifest={manifest_path}{packaging}{other_name}"


@dataclass(frozen=True)
class Deployment:
    """A stack that stands ready to run the manifest it was asked for."""

    stack: str
    artifact_bucket: str
    state_machine_arn: str

    @property
    def region(self) -> str:
        return self.state_machine_arn.split(":")[3]

    @property
    def artifacts_url(self) -> str:
        return f"s3://{self.artifact_bucket}"

    def execution_arn(self, run: str) -> str:
        """The execution that ``start`` makes for ``run``, known before it exists."""
        return f"{self.state_machine_arn.replace(':stateMachine:', ':execution:', 1)}:{run}"


def find_deployment(
    manifest: Manifest,
    manifest_path: str,
    stack: str | None = None,
    *,
    embedded: bool = False,
    cloudformation: Any = None,
) -> Deployment:
    """The stack that runs ``manifest``, by name (default: the one that ``app.py`` would give it).

    Raises:
        UserInputError: no such stack, a stack of something else, one that is not in a usable state, or one that was
            deployed from another manifest. Each message has the command that helps.
        FuncpipeError: AWS cannot be asked.
    """
    name = stack or default_stack_name(manifest)
    deploy = _deploy_command(manifest_path, name, manifest, embedded)
    with aws_errors():
        cloudformation = cloudformation or client("cloudformation")
        try:
            found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if error_code(error) == "ValidationError" and "does not exist" in str(error):
                raise UserInputError(f"stack {name!r} is not deployed. Deploy it with `{deploy}`.") from None
            raise
    if found["StackStatus"] not in _USABLE:
        raise UserInputError(
            f"stack {name!r} is in state {found['StackStatus']}, which cannot run anything. Wait for the deployment to "
            f"end, or mend it: `{deploy}`."
        )
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    if missing := [key for key in _OUTPUTS if key not in outputs]:
        raise UserInputError(f"stack {name!r} is no funcpipe stack: it has no output {missing[0]!r}. Correct --stack.")
    if outputs["ManifestSha256"] != manifest.sha256:
        raise UserInputError(
            f"stack {name!r} was deployed from another manifest (deployed: {outputs['ManifestSha256'][:12]}, "
            f"{manifest_path}: {manifest.sha256[:12]}). See the difference with "
            f"`{deploy.replace('cdk deploy', 'cdk diff')}`, then `{deploy}`."
        )
    return Deployment(name, outputs["ArtifactBucket"], outputs["StateMachineArn"])


def check_idle(deployment: Deployment, *, states: Any = None) -> None:
    """Refuses to start a run beside another: the functions' reserved concurrency admits one gang.

    Raises:
        UserInputError: a run is under way on the stack.
        FuncpipeError: AWS cannot be asked.
    """
    with aws_errors():
        states = states or client("stepfunctions")
        answer = states.list_executions(
            stateMachineArn=deployment.state_machine_arn, statusFilter="RUNNING", maxResults=1
        )
    for execution in answer["executions"]:
        run = execution["name"].partition(_CONTINUED)[0]
        raise UserInputError(
            f"stack {deployment.stack!r} is busy with run {run!r}, and its functions admit one run at a time. Wait for "
            f"it (`funcpipe watch {run}`), end it (`funcpipe stop {run}`), or deploy a second stack with "
            "-c stack=NAME and start there with --stack NAME."
        )


def start_execution(deployment: Deployment, run: str, *, states: Any = None) -> str:
    """Starts the workflow for ``run`` and returns the execution's ARN.

    Raises:
        UserInputError: the run id was used before.
        FuncpipeError: AWS cannot be asked, or refuses.
    """
    with aws_errors():
        states = states or client("stepfunctions")
        try:
            answer = states.start_execution(
                stateMachineArn=deployment.state_machine_arn,
                name=run,
                input=json.dumps({"run": run, "segment": 0, "attempt": 0, "commit": INITIAL}),
            )
        except ClientError as error:
            if error_code(error) == "ExecutionAlreadyExists":
                raise UserInputError(
                    f"run id {run!r} has been used on stack {deployment.stack!r}. Give another with --run."
                ) from None
            raise
    return str(answer["executionArn"])


@dataclass(frozen=True)
class ExecutionState:
    """What Step Functions says of an execution."""

    status: str
    started_at: datetime
    stopped_at: datetime | None
    error: str | None
    cause: str | None

    @property
    def running(self) -> bool:
        return self.status in ("RUNNING", "PENDING_REDRIVE")

    def ending(self) -> Ending | None:
        """How it ended; None while it runs."""
        if self.running:
            return None
        said = ": ".join(part for part in (self.error, self.cause) if part) or "no reason was given"
        return Ending(
            succeeded=self.status == "SUCCEEDED",
            message=None if self.status == "SUCCEEDED" else f"execution {self.status}: {said}",
            stopped=self.status == "ABORTED",
        )


def describe_execution(arn: str, *, states: Any = None) -> ExecutionState | None:
    """The state of the run that the execution began, be it in another one by now; None when there is no such execution.

    A long run is a chain of executions: who reaches the end of its history starts the next one (``infra.workflow``).
    Raises FuncpipeError when AWS cannot be asked.
    """
    with aws_errors():
        states = states or client("stepfunctions")
        try:
            answer = first = states.describe_execution(executionArn=arn)
            while (following := _following(answer)) is not None:
                answer = states.describe_execution(executionArn=following)
        except ClientError as error:
            if error_code(error) == "ExecutionDoesNotExist":
                return None
            raise
    return ExecutionState(
        status=answer["status"],
        started_at=first["startDate"],
        stopped_at=answer.get("stopDate"),
        error=answer.get("error"),
        cause=answer.get("cause"),
    )


def _following(answer: dict[str, Any]) -> str | None:
    """The execution in which the run of a described execution goes on; None when it does not."""
    if answer["status"] != "SUCCEEDED":
        return None
    started = json.loads(answer.get("output") or "{}").get("continued")
    return None if started is None else str(started["ExecutionArn"])


def stop_execution(arn: str, message: str, *, states: Any = None) -> None:
    """Ends the run that the execution began, now; nothing happens when it has ended. Raises FuncpipeError when AWS
    cannot be asked."""
    with aws_errors():
        states = states or client("stepfunctions")
        try:
            running: str | None = arn
            while running is not None:
                # First, so that one which goes on in another meanwhile has said so.
                states.stop_execution(executionArn=running, error="stopped", cause=message)
                running = _following(states.describe_execution(executionArn=running))
        except ClientError as error:
            if error_code(error) != "ExecutionDoesNotExist":
                raise


@dataclass(frozen=True)
class StageFunction:
    """The deployed Lambda function of one stage."""

    stage: int
    name: str
    memory_mb: int
    log_group: str


def stage_functions(stack: str, *, cloudformation: Any = None, functions: Any = None) -> list[StageFunction]:
    """The stage functions of ``stack``, in order of stage. Raises FuncpipeError when AWS cannot be asked."""
    with aws_errors():
        cloudformation = cloudformation or client("cloudformation")
        functions = functions or client("lambda")
        found = [
            stage_function
            for name in _function_names(stack, cloudformation)
            if (stage_function := _stage_function(functions.get_function_configuration(FunctionName=name)))
        ]
    return sorted(found, key=lambda function: function.stage)


def _function_names(stack: str, cloudformation: Any) -> Iterator[str]:
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
        for resource in page["StackResourceSummaries"]:
            if resource["ResourceType"] == "AWS::Lambda::Function":
                yield resource["PhysicalResourceId"]


def _stage_function(configuration: dict[str, Any]) -> StageFunction | None:
    """None for functions of another purpose, such as a custom resource's."""
    stage = configuration.get("Environment", {}).get("Variables", {}).get("FUNCPIPE_STAGE")
    if stage is None:
        return None
    name = configuration["FunctionName"]
    log_group = configuration.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
    return StageFunction(int(stage), name, int(configuration["MemorySize"]), log_group)
