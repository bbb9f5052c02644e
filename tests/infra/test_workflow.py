"""The state machine's shape, and the order of states as an interpreter would take it."""

import json
import re
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from infra.gang import stage_label
from infra.history import attempt_events, attempts_per_execution
from runtime import keys
from runtime.errors import UserInputError, WorkerFailed
from runtime.limits import STATES_PAYLOAD_BYTES
from runtime.records import Abort, FailureKind, WorkerEvent
from tests.infra.synthesis import Synthesised, synthesise, walk
from tests.manifests import make_manifest


def segment_of(stack: Synthesised) -> dict[str, Any]:
    (parallel,) = [state for state in stack.state_machine["States"].values() if state["Type"] == "Parallel"]
    return parallel


def names(machine: dict[str, Any]) -> list[str]:
    return [
        name for value in walk(machine) if isinstance(value, dict) and "States" in value for name in value["States"]
    ]


def test_one_branch_per_stage_with_a_map_over_its_replicas(stack: Synthesised) -> None:
    branches = segment_of(stack)["Branches"]
    assert len(branches) == len(stack.manifest.stages)
    prepared = stack.state_machine["States"]["Prepare"]["Parameters"]["replicas"]
    for index, (stage, branch) in enumerate(zip(stack.manifest.stages, branches, strict=True)):
        ((label, state),) = branch["States"].items()
        assert label == branch["StartAt"] == stage_label(index, stage)
        assert state["Type"] == "Map" and state["End"] is True
        assert state["MaxConcurrency"] == stage.replicas, "all workers must start together"
        mode = state["ItemProcessor"]["ProcessorConfig"]["Mode"]
        assert mode == ("INLINE" if stage.replicas <= 40 else "DISTRIBUTED")
        items = state["ItemsPath"].removeprefix("$.replicas.")
        assert prepared[f"{items}.$"] == f"States.ArrayRange(0, {stage.replicas - 1}, 1)"


def test_a_worker_gets_exactly_its_event(stack: Synthesised) -> None:
    carried = ("run", "segment", "attempt", "manifest_sha256", "commit", "begun_at")
    for index, branch in enumerate(segment_of(stack)["Branches"]):
        (state,) = branch["States"].values()
        task = worker_of(state)
        event = {key.removesuffix(".$"): value for key, value in state["ItemSelector"].items()}
        assert set(event) == {*WorkerEvent.model_fields, "begun_at"}
        assert event["stage"] == index
        assert state["ItemSelector"]["replica.$"] == "$$.Map.Item.Value"
        assert {key: state["ItemSelector"][f"{key}.$"] for key in carried} == {key: f"$.{key}" for key in carried}
        assert task["Resource"].endswith(":states:::lambda:invoke")
        payload = {f"{field}.$": f"$.{field}" for field in WorkerEvent.model_fields}
        assert task["Parameters"] == {"FunctionName": stack.aliases[index], "Payload": payload}


def worker_of(stage: dict[str, Any]) -> dict[str, Any]:
    """The first state of a stage's Map: the task that is a worker."""
    processor = stage["ItemProcessor"]
    return processor["States"][processor["StartAt"]]


def test_the_state_carries_the_run_and_the_deployed_plan(stack: Synthesised) -> None:
    states = stack.state_machine["States"]
    prepared = states["Prepare"]["Parameters"]
    assert prepared["run.$"] == "$.run"
    assert prepared["manifest_sha256"] == stack.manifest.sha256
    kept = {key.removesuffix(".$") for key in prepared}
    changed = {"Next segment": {"segment", "attempt", "commit"}, "Next attempt": {"attempt"}}
    for name, others in changed.items():
        following = states[name]["Parameters"]
        assert {key.removesuffix(".$") for key in following} == kept
        for key in kept - others - {"begun_at", "left", "failure"}:
            assert following[f"{key}.$"] == f"$.{key}"


def test_results_are_discarded_and_no_worker_is_started_twice(stack: Synthesised) -> None:
    states = [
        v for v in walk(stack.state_machine) if isinstance(v, dict) and v.get("Type") in ("Map", "Parallel", "Task")
    ]
    kept = {"$.outcome", "$.continued"}
    assert len(states) == 5 + 3 * len(stack.manifest.stages), (
        "a segment; its outcome read, aborted, read again; the next execution; of each stage a Map, a worker, an abort"
    )
    for state in states:
        is_worker = state.get("Resource", "").endswith(":lambda:invoke")
        if is_worker or state["Type"] != "Task":
            # A throttled function has not been started.
            tried_again = [error for retry in state.get("Retry", []) for error in retry["ErrorEquals"]]
            assert tried_again == (["Lambda.TooManyRequestsException"] if is_worker else [])
        discarded = "OutputPath" if is_worker else "ResultPath"
        assert state[discarded] is None or state[discarded] in kept


def test_a_worker_is_given_up_only_after_lambda_must_have_ended_it(stack: Synthesised) -> None:
    for branch in segment_of(stack)["Branches"]:
        ((_, state),) = branch["States"].items()
        assert worker_of(state)["TimeoutSeconds"] > stack.manifest.segment.timeout_s


def test_a_throttled_start_is_given_up_before_the_others_stall(stack: Synthesised) -> None:
    for branch in segment_of(stack)["Branches"]:
        ((_, state),) = branch["States"].items()
        (retry,) = worker_of(state)["Retry"]
        waits = [retry["IntervalSeconds"] * retry["BackoffRate"] ** n for n in range(retry["MaxAttempts"])]
        assert 10 < sum(waits) < stack.manifest.segment.stall_timeout_s


def test_who_dies_leaves_an_outcome(stack: Synthesised) -> None:
    """Follows a worker's failure by the catchers, and reads the outcome as its gang would."""
    for index, branch in enumerate(segment_of(stack)["Branches"]):
        ((_, state),) = branch["States"].items()
        states = state["ItemProcessor"]["States"]
        own, *others = worker_of(state)["Catch"]
        assert own["ErrorEquals"] == [WorkerFailed.__name__] and others[-1]["ErrorEquals"] == ["States.ALL"]
        failed = states[own["Next"]]
        assert failed["Type"] == "Fail" and failed["CausePath"] == own["ResultPath"] + ".Cause"

        kinds = [FailureKind.THROTTLED, FailureKind.EXCEPTION, FailureKind.DIED]
        for other, kind in zip(others, kinds, strict=True):
            told = states[other["Next"]]
            abort = states[told["Next"]]
            assert abort["Resource"].endswith(":states:::aws-sdk:s3:putObject")
            (caught,) = abort["Catch"]
            assert states[abort["Next"]] == states[caught["Next"]] == failed, "in any case, the worker's failure"
            event = {"run": "r", "segment": 12, "attempt": 0, "stage": index, "replica": 1, "commit": "11-2"}
            event["manifest_sha256"] = "a" * 64
            failure = {"Error": "Runtime.ExitError", "Cause": "signal: killed {}"}
            given = {**event, "failure": failure, "told": told["Result"], "begun_at": "2023-11-14T22:13:10.000Z"}
            parameters = filled_in(abort["Parameters"], given)
            assert parameters["Key"] == keys.GangKeys("r", 12, 0).outcome
            assert parameters["IfNoneMatch"] == "*"
            outcome = Abort.model_validate(parameters["Body"])
            assert outcome.reason == "failure" and outcome.retryable is kind.retryable
            assert (outcome.begun_at, outcome.at) == (1_700_000_000 - 10, 1_700_000_000)
            assert "Runtime.ExitError: signal: killed {}" in outcome.message
            assert f"stage {index}, replica 1" in outcome.message
            assert outcome.failure is not None
            assert outcome.failure.event == WorkerEvent.model_validate(event)
            assert (outcome.failure.kind, outcome.failure.error) == (kind, "Runtime.ExitError: signal: killed {}")


def filled_in(template: Any, given: dict[str, Any]) -> Any:
    """A payload template as Step Functions fills it in: paths, the context's time, and States.Format."""

    def value(expression: str) -> Any:
        if expression == "$$.State.EnteredTime":
            return "2023-11-14T22:13:20.000Z"
        if expression.startswith("States.Format("):
            text, *paths = re.findall(r"'[^']*'|\$[\w.]+", expression)
            return text.strip("'").format(*map(value, paths))
        found: Any = given
        for name in expression.removeprefix("$.").split("."):
            found = found[name]
        return found

    if not isinstance(template, dict):
        return template
    return {
        key.removesuffix(".$"): value(item) if key.endswith(".$") else filled_in(item, given)
        for key, item in template.items()
    }


def test_however_a_segment_ends_its_outcome_is_read(stack: Synthesised) -> None:
    segment = segment_of(stack)
    (catch,) = segment["Catch"]
    assert catch["ErrorEquals"] == ["States.ALL"]
    assert catch["Next"] == segment["Next"]
    read = stack.state_machine["States"][segment["Next"]]
    assert read["Resource"].endswith(":states:::aws-sdk:s3:getObject")


def test_every_state_is_reachable_and_every_successor_exists(stack: Synthesised) -> None:
    graphs = [value for value in walk(stack.state_machine) if isinstance(value, dict) and "States" in value]
    assert len(graphs) == 1 + 2 * len(stack.manifest.stages), "the loop, and a Map with a worker for each stage"
    for graph in graphs:
        reached, waiting = set(), [graph["StartAt"]]
        while waiting:
            name = waiting.pop()
            if name in reached:
                continue
            reached.add(name)
            state = graph["States"][name]
            steps = [state, *state.get("Choices", [])]
            successors = [step[key] for step in steps for key in ("Next", "Default") if key in step]
            assert bool(successors) != (state.get("End") is True or state["Type"] in ("Succeed", "Fail")), name
            waiting += successors + [catch["Next"] for catch in state.get("Catch", [])]
        assert reached == graph["States"].keys()


def test_cfn_lint_knows_every_key_of_the_definition(stack: Synthesised) -> None:
    """In the template the definition is a string with references in it, which cfn-lint does not look into."""
    definition = json.loads(json.dumps(stack.state_machine).replace("arn:AWS::Partition:", "arn:aws:"))
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"Definition": definition}}
    machine["Properties"]["RoleArn"] = {"Ref": "Role"}
    template = {"Parameters": {"Role": {"Type": "String"}}, "Resources": {"Machine": machine}}
    found = lint(json.dumps(template), config=ManualArgs(regions=["us-east-1"]))
    assert not [str(match) for match in found]


def test_names_are_unique_and_short(stack: Synthesised) -> None:
    found = names(stack.state_machine)
    assert len(found) == len(set(found))
    assert max(map(len, found)) <= 80


def test_a_stage_of_another_memory_leaves_the_definition_as_it_was(tmp_path) -> None:
    """What a reviewer of `cdk diff` reads is the memory, a new version, the stage's label and the plan's hash."""
    before, after = (synthesise(tmp_path / str(mb), memory_mb=[1024, mb]) for mb in (1024, 2048))
    added = after.template["Resources"].keys() - before.template["Resources"].keys()
    assert [after.template["Resources"][key]["Type"] for key in added] == ["AWS::Lambda::Version"]
    changed = {
        (resource["Type"], name)
        for key, resource in after.template["Resources"].items()
        if key not in added
        for name, value in resource["Properties"].items()
        if value != before.template["Resources"][key]["Properties"][name]
    }
    assert changed == {
        ("AWS::Lambda::Function", "MemorySize"),
        ("AWS::Lambda::Alias", "FunctionVersion"),
        ("AWS::StepFunctions::StateMachine", "DefinitionSubstitutions"),
    }
    (old,), (new,) = (s.resources("AWS::StepFunctions::StateMachine").values() for s in (before, after))
    names = {k for k, v in new["DefinitionSubstitutions"].items() if v != old["DefinitionSubstitutions"][k]}
    assert names == {"ManifestSha256", "Stage1"}


def test_label_shows_layers_memory_and_replicas() -> None:
    manifest = make_manifest(layers=[3, 3], memory_mb=[1024, 2048], replicas=[1, 2])
    assert stage_label(1, manifest.stages[1]) == "Stage 1: layers 3-5, 2048 MB x 2"


def test_an_execution_outlives_its_attempts(stack: Synthesised) -> None:
    attempts = attempts_per_execution(stack.manifest)
    assert stack.state_machine["States"]["Prepare"]["Parameters"]["left"] == attempts - 1
    assert stack.state_machine["TimeoutSeconds"] > attempts * stack.manifest.segment.timeout_s


def test_state_between_segments_stays_small(stack: Synthesised) -> None:
    """ArrayRange expanded: the only part of the state that grows with the plan."""
    state = {f"stage{i}": list(range(stage.replicas)) for i, stage in enumerate(stack.manifest.stages)}
    assert len(json.dumps({"run": "r" * 48, "replicas": state})) < STATES_PAYLOAD_BYTES // 4


def test_a_gang_that_could_outgrow_the_history_is_refused() -> None:
    # Not deployable today, with 900 workers at most: the rule holds should quotas grow.
    manifest = make_manifest(stages=22, replicas=40)
    assert attempts_per_execution(manifest) == 1
    larger = manifest.model_copy(update={"stages": manifest.stages * 2})
    with pytest.raises(UserInputError, match=r"could outgrow the history.*workers: 1760.*limit: 24"):
        attempts_per_execution(larger)


def test_a_run_of_more_segments_than_a_history_holds_can_be_deployed(tmp_path) -> None:
    synthesised = synthesise(tmp_path, iterations=3_000, segment_iterations=1, replicas=[1, 1])
    assert synthesised.manifest.segments > attempts_per_execution(synthesised.manifest)


def test_events_of_one_attempt_of_one_worker() -> None:
    """Counted by hand from the documentation's list of events."""
    manifest = make_manifest(stages=1, iterations=1)
    #  Parallel 4, Map 4, iteration 2, worker 5 and 5 repetitions of 3, told 2, its abort 5, failed 2
    gang = 4 + 4 + 2 + 5 + 15 + 2 + 5 + 2
    #  read, abort, read again: 5 and 3 repetitions of 3 each; the six states of 2 events each
    assert attempt_events(manifest) == gang + 3 * 14 + 6 * 2
