"""What a state machine's tasks meet: storage, and Lambda functions whose workers follow a script.

A worker trains for ``TRAINING_S`` unless its script says otherwise, looking at its attempt's outcome every second; the
leader commits a moment after the others have returned. Storage takes errors on order.
"""

import asyncio
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.keys import OUTCOME_FORMAT, GangKeys
from runtime.records import Abort, Commit, EndReason, Failure, FailureKind, WorkerEvent, parse_outcome
from tests.asl import clock
from tests.asl.expressions import StatesError
from tests.asl.interpreter import Execution, Interpreter

TRAINING_S = 100
WorkerName = tuple[int, int]
"""Stage and replica."""


@dataclass
class Fate:
    """What happens to a worker, ``after_s`` seconds from its start: Lambda's error, or for ever nothing."""

    after_s: float = 10
    error: str | None = "Runtime.ExitError"
    """None: it hangs, and sees nothing."""


@dataclass
class Script:
    """What happens in one attempt."""

    ends: EndReason | None = EndReason.TIME
    """None: nobody commits, and all end well."""
    fates: Mapping[WorkerName, Fate] = field(default_factory=dict)
    throttled: Mapping[int, int] = field(default_factory=dict)
    """How often each stage's function refuses to start."""
    bug: WorkerName | None = None
    """This worker's model raises; the worker says so itself."""
    commits_anyway_at_s: float | None = None
    """The leader commits then, though it or others have failed: a zombie's put arrives."""


class World:
    """One run's storage and functions, and the executions of its workflow."""

    def __init__(self, machine: dict[str, Any], scripts: Iterable[Script], *, layers: int = 4, seed: int = 0) -> None:
        self._scripts, self._layers = list(scripts), layers
        self.begun: dict[tuple[int, int], float] = {}
        """When the first worker of each segment and attempt was started."""
        self.events: list[WorkerEvent] = []
        self.objects: dict[str, str] = {}
        self.orders: dict[str, list[str]] = {"getObject": [], "putObject": []}
        """For the next requests of the workflow: "error", "lost answer", or "late commit" (arrives just before)."""
        self.requests: list[str] = []
        self._started: list[dict[str, Any]] = []
        self._start_fails = False
        self._interpreter = Interpreter(
            machine,
            {
                "lambda:invoke": self._invoke,
                "aws-sdk:s3:getObject": self._get,
                "aws-sdk:s3:putObject": self._put,
                "states:startExecution": self._start,
            },
            random.Random(seed),
        )

    def run(self) -> list[Execution]:
        """The run from its start, through all its executions."""
        return clock.run(self._run())

    async def _run(self) -> list[Execution]:
        given: dict[str, Any] | None = {"run": "r", "segment": 0, "attempt": 0, "commit": "initial"}
        executions = []
        while given is not None:
            executions.append(await self._interpreter.run(given))
            given = self._started.pop() if self._started else None
        return executions

    def outcome(self, segment: int, attempt: int) -> Commit | Abort | None:
        text = self.objects.get(GangKeys("r", segment, attempt).outcome)
        return None if text is None else parse_outcome(text.encode())

    @property
    def attempts(self) -> list[tuple[int, int]]:
        """Those that were begun, in order."""
        return list(self.begun)

    # What tasks do ---------------------------------------------------------------------------------------------------

    async def _invoke(self, parameters: dict[str, Any]) -> Any:
        event = WorkerEvent.model_validate(parameters["Payload"])
        gang = (event.segment, event.attempt)
        new = gang not in self.begun
        self.begun.setdefault(gang, clock.now())
        script = self._scripts[self.attempts.index(gang)]
        refusals = script.throttled
        if refusals.get(event.stage, 0) > 0:
            script.throttled = {**refusals, event.stage: refusals[event.stage] - 1}
            raise StatesError("Lambda.TooManyRequestsException", "Rate Exceeded.")
        self.events.append(event)
        if new and script.commits_anyway_at_s is not None:
            asyncio.get_running_loop().call_later(script.commits_anyway_at_s, self._commit, event, EndReason.TIME)
        return await self._work(event, script)

    async def _work(self, event: WorkerEvent, script: Script) -> None:
        worker = (event.stage, event.replica)
        fate = script.fates.get(worker)
        for second in range(TRAINING_S):
            await asyncio.sleep(1)
            if fate is not None and second + 1 >= fate.after_s:
                if fate.error is None:
                    await asyncio.sleep(1_000_000)
                raise StatesError(str(fate.error), "it ended {}")
            if isinstance(self.outcome(event.segment, event.attempt), Abort):
                raise StatesError("WorkerFailed", "the attempt was aborted")
            if script.bug == worker and second == 3:
                self._decide(event, self._bug(event))
                raise StatesError("WorkerFailed", "ValueError: the user's")
        if worker == (0, 0) and script.ends is not None:
            await asyncio.sleep(2)
            self._commit(event, script.ends)

    def _bug(self, event: WorkerEvent) -> Abort:
        failure = Failure(event=event, kind=FailureKind.EXCEPTION, error="ValueError: the user's", at=clock.now())
        retryable = failure.kind.retryable
        at = clock.now()
        return Abort(reason="failure", retryable=retryable, message=failure.error, failure=failure, begun_at=at, at=at)

    def _commit(self, event: WorkerEvent, reason: EndReason) -> None:
        layer = f"{event.segment:05d}/{'a' * 64}"
        self._decide(
            event,
            Commit(
                number=event.segment + 1,
                attempt=event.attempt,
                base=event.commit,
                iteration=10 * (event.segment + 1),
                layers=[layer] * self._layers,
                reason=reason,
                billed_s=1,
                spent_usd=1,
                at=clock.now(),
            ),
        )

    def _decide(self, event: WorkerEvent, outcome: Commit | Abort) -> None:
        self.objects.setdefault(
            OUTCOME_FORMAT.format(event.run, event.segment, event.attempt), outcome.model_dump_json()
        )

    async def _get(self, parameters: dict[str, Any]) -> Any:
        await self._ordered("getObject")
        if parameters["Key"] not in self.objects:
            raise StatesError("S3.NoSuchKeyException", "The specified key does not exist. (Service: S3, ...)")
        return {"Body": self.objects[parameters["Key"]], "ContentType": "application/json"}

    async def _put(self, parameters: dict[str, Any]) -> Any:
        assert parameters["IfNoneMatch"] == "*"
        order = await self._ordered("putObject")
        if order == "late commit":
            self._commit(self.events[-1].model_copy(update={"stage": 0, "replica": 0}), EndReason.TIME)
        if parameters["Key"] in self.objects:
            raise StatesError("S3.S3Exception", "At least one of the pre-conditions you specified did not hold")
        text = json.dumps(parameters["Body"])
        assert isinstance(parse_outcome(text.encode()), Abort), "what the workflow writes is what workers read"
        self.objects[parameters["Key"]] = text
        if order == "lost answer":
            raise StatesError("S3.SdkClientException", "the connection was reset")
        return {"ETag": "..."}

    async def _ordered(self, action: str) -> str | None:
        await asyncio.sleep(0.01)
        self.requests.append(action)
        order = self.orders[action].pop(0) if self.orders[action] else None
        if order == "error":
            raise StatesError("S3.S3Exception", "We encountered an internal error. (Service: S3, Status Code: 500)")
        return order

    async def _start(self, parameters: dict[str, Any]) -> Any:
        if self._start_fails:
            raise StatesError("StepFunctions.ThrottlingException", "Rate exceeded")
        self._started.append(parameters["Input"])
        return {"ExecutionArn": f"arn:{parameters['Name']}", "StartDate": "..."}

    def refuse_executions(self) -> None:
        """From now on no execution can be started by the workflow."""
        self._start_fails = True
