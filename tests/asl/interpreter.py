"""A second interpreter of state machines, with AWS's own semantics where the embedded AWS has others.

- Parallel and Map fail at once when one branch does; the tasks of the others are given up, and what they have started
  (a Lambda function) goes on.
- TimeoutSeconds of a task is States.Timeout, of the machine the end of the execution.
- Data above 256 KiB into or out of a state, or as a task's result, is States.DataLimitExceeded; it and States.Runtime
  are not caught by States.ALL.
- Every state counts its events in the history; above 25,000 the execution fails.

States Language specification (states-language.net/spec.html); docs.aws.amazon.com/step-functions/latest/dg:
concepts-error-handling.html, state-parallel.html, service-quotas.html. Read 2026-11-24. A field that is not known here
is an error of the test, not passed over.
"""

import asyncio
import copy
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.limits import STATES_HISTORY_EVENTS, STATES_PAYLOAD_BYTES
from tests.asl import clock
from tests.asl.expressions import Scope, StatesError, holds, iso

State = dict[str, Any]
Resource = Callable[[dict[str, Any]], Awaitable[Any]]
_UNCATCHABLE = ("States.DataLimitExceeded", "States.Runtime")
_COMMON = {"Type", "Comment", "Next", "End", "InputPath", "OutputPath"}
_FIELDS = {
    "Pass": {"Result", "Parameters", "ResultPath"},
    "Task": {"Resource", "Parameters", "ResultSelector", "ResultPath", "TimeoutSeconds", "Retry", "Catch"},
    "Choice": {"Choices", "Default"},
    "Wait": {"Seconds", "SecondsPath"},
    "Succeed": set(),
    "Fail": {"Error", "Cause", "ErrorPath", "CausePath"},
    "Parallel": {"Branches", "ResultPath", "Retry", "Catch"},
    "Map": {"ItemsPath", "ItemSelector", "ItemProcessor", "MaxConcurrency", "ResultPath", "Retry", "Catch"},
}


@dataclass
class Execution:
    """One execution, and what became of it."""

    status: str = "RUNNING"
    last_state: str = ""
    error: StatesError | None = None
    output: Any = None
    events: int = 2
    entered: list[str] = field(default_factory=list)
    """Names of states in the order in which they were entered, those in branches included."""


class Interpreter:
    """Runs executions of one state machine.

    Args:
        resources: what a task does, by the end of its Resource; given its parameters; raises StatesError.
        chance: of States.MathRandom.
    """

    def __init__(self, machine: State, resources: dict[str, Resource], chance: random.Random) -> None:
        self._machine, self._resources, self._chance = machine, resources, chance

    async def run(self, given: Any) -> Execution:
        """An execution to its end, of whatever kind."""
        execution = Execution()
        context = {"StateMachine": {"Id": "arn:machine"}, "State": {"EnteredTime": iso(clock.now())}}
        try:
            async with asyncio.timeout(self._machine.get("TimeoutSeconds")):
                execution.output = await self._graph(self._machine, given, context, execution, top=True)
            execution.status = "SUCCEEDED"
        except TimeoutError:
            execution.status = "TIMED_OUT"
        except StatesError as error:
            execution.status, execution.error = "FAILED", error
        return execution

    async def _graph(
        self, graph: State, data: Any, context: dict[str, Any], execution: Execution, *, top: bool = False
    ) -> Any:
        name: str | None = graph["StartAt"]
        while name is not None:
            state = graph["States"][name]
            assert not (unknown := state.keys() - _COMMON - _FIELDS[state["Type"]]), f"{name}: {unknown}"
            execution.entered.append(name)
            if top:
                execution.last_state = name
            context = {**context, "State": {"EnteredTime": iso(clock.now()), "Name": name}}
            _limit(data, name)
            self._count(execution, 1 if state["Type"] == "Fail" else 2)
            data, name = await self._caught(state, data, context, execution)
        return data

    async def _caught(
        self, state: State, data: Any, context: dict[str, Any], execution: Execution
    ) -> tuple[Any, str | None]:
        """A state with its Retry and Catch: its output, and the state that follows."""
        tried: dict[int, int] = {}
        while True:
            try:
                return await self._state(state, data, context, execution)
            except StatesError as error:
                retrier = _first(state.get("Retry", ()), error)
                if retrier is not None and tried.get(id(retrier), 0) < retrier["MaxAttempts"]:
                    again = tried[id(retrier)] = tried.get(id(retrier), 0) + 1
                    await asyncio.sleep(retrier["IntervalSeconds"] * retrier["BackoffRate"] ** (again - 1))
                    continue
                catcher = _first(state.get("Catch", ()), error)
                if catcher is None:
                    raise
                output = _placed(data, {"Error": error.error, "Cause": error.cause}, catcher.get("ResultPath", "$"))
                return output, catcher["Next"]

    async def _state(
        self, state: State, data: Any, context: dict[str, Any], execution: Execution
    ) -> tuple[Any, str | None]:
        scope = Scope(data, context, self._chance)
        match state["Type"]:
            case "Choice":
                for rule in state["Choices"]:
                    if holds(rule, scope):
                        return data, rule["Next"]
                if "Default" not in state:
                    raise StatesError("States.NoChoiceMatched")
                return data, state["Default"]
            case "Fail":
                error = scope.path(state["ErrorPath"]) if "ErrorPath" in state else state.get("Error", "")
                cause = scope.path(state["CausePath"]) if "CausePath" in state else state.get("Cause", "")
                raise StatesError(error, cause)
            case "Wait":
                await asyncio.sleep(scope.path(state["SecondsPath"]) if "SecondsPath" in state else state["Seconds"])
                result, path = data, "$"
            case "Succeed":
                result, path = data, "$"
            case "Pass":
                result = state["Result"] if "Result" in state else scope.template(state.get("Parameters", data))
                path = state.get("ResultPath", "$")
            case "Task":
                result, path = await self._task(state, scope, execution), state.get("ResultPath", "$")
            case "Parallel":
                branches = [
                    self._graph(branch, copy.deepcopy(data), context, execution) for branch in state["Branches"]
                ]
                self._count(execution, 2)
                result, path = await _together(branches), state.get("ResultPath", "$")
            case "Map":
                result, path = await self._map(state, scope, context, execution), state.get("ResultPath", "$")
        output = _placed(data, result, path)
        if state.get("OutputPath", "$") is None:
            output = {}
        _limit(output, state["Type"])
        return output, state.get("Next")

    async def _task(self, state: State, scope: Scope, execution: Execution) -> Any:
        (work,) = [work for name, work in self._resources.items() if state["Resource"].endswith(f":{name}")]
        self._count(execution, 3)
        parameters = scope.template(state["Parameters"])
        _limit(parameters, "parameters")
        # What a task has started goes on when nobody waits for it any more.
        started = asyncio.ensure_future(work(parameters))
        started.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(state.get("TimeoutSeconds")):
                result = await asyncio.shield(started)
        except TimeoutError:
            raise StatesError("States.Timeout", "the task took too long") from None
        _limit(result, "result")
        if "ResultSelector" in state:
            result = Scope(result, scope.context, self._chance).template(state["ResultSelector"])
        return result

    async def _map(self, state: State, scope: Scope, context: dict[str, Any], execution: Execution) -> Any:
        items, processor = scope.path(state["ItemsPath"]), state["ItemProcessor"]
        distributed = processor["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
        assert state["MaxConcurrency"] >= len(items), "the workers of a gang need one another"
        self._count(execution, 2)
        iterations = []
        for index, item in enumerate(items):
            within = {**context, "Map": {"Item": {"Index": index, "Value": item}}}
            given = Scope(scope.data, within, self._chance).template(state["ItemSelector"])
            if not distributed:
                self._count(execution, 2)
            # An iteration of a Distributed Map is an execution of its own, with its own history.
            recorded = Execution(entered=execution.entered) if distributed else execution
            iterations.append(self._graph(processor, given, within, recorded))
        try:
            return await _together(iterations)
        except StatesError as error:
            if distributed and error.error not in _UNCATCHABLE:
                raise StatesError("States.ExceedToleratedFailureThreshold", str(error)) from None
            raise

    def _count(self, execution: Execution, events: int) -> None:
        execution.events += events
        if execution.events > STATES_HISTORY_EVENTS:
            raise StatesError("States.Runtime", "the execution's history is full")


async def _together(branches: list[Any]) -> list[Any]:
    """All results in order, or the first failure, at once: the other branches are given up."""
    tasks = [asyncio.ensure_future(branch) for branch in branches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _first(handlers: Any, error: StatesError) -> Any:
    """The first retrier or catcher that the error matches."""
    for handler in handlers:
        named = error.error in handler["ErrorEquals"]
        if named or ("States.ALL" in handler["ErrorEquals"] and error.error not in _UNCATCHABLE):
            return handler
    return None


def _placed(data: Any, result: Any, path: str | None) -> Any:
    if path is None:
        return data
    if path == "$":
        return result
    placed = copy.deepcopy(data)
    inner = placed
    *parents, last = path.split(".")[1:]
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = result
    return placed


def _limit(data: Any, where: str) -> None:
    if (size := len(json.dumps(data, separators=(",", ":")).encode())) > STATES_PAYLOAD_BYTES:
        raise StatesError("States.DataLimitExceeded", f"{where}: {size} bytes")
