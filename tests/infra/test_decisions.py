"""The synthesised state machine takes the decisions of docs/protocol.md, on an interpreter with AWS's own semantics.

Each test is a history of failures: what happens in each attempt, and which attempts and which end the run has.
"""

import copy
from typing import Any

import pytest

from infra import history
from infra.history import attempt_events, attempts_per_execution
from planner.bills import transitions
from runtime.errors import UserInputError
from runtime.limits import STATES_HISTORY_EVENTS
from runtime.records import Abort, Commit, EndReason, FailureKind
from tests.asl.world import Fate, Script, World
from tests.infra.synthesis import Synthesised, synthesise
from tests.manifests import make_manifest

FINISHED = Script(EndReason.FINISHED)
ATTEMPTS = 3


@pytest.fixture(scope="module", params=[[2, 1], [41, 2]], ids=["inline", "distributed"])
def training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise(tmp_path_factory.mktemp("plan"), stages=2, replicas=request.param, attempts=ATTEMPTS)


@pytest.fixture
def machine(training: Synthesised) -> dict[str, Any]:
    return copy.deepcopy(training.state_machine)


def gap_s(world: World, earlier: tuple[int, int], later: tuple[int, int]) -> float:
    return world.begun[later] - world.begun[earlier]


def test_segments_follow_one_another_from_commit_to_commit(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(), Script(), FINISHED])
    (execution,) = world.run()
    assert (execution.status, execution.last_state) == ("SUCCEEDED", "Run complete")
    assert world.attempts == [(0, 0), (1, 0), (2, 0)]
    assert {(event.segment, event.commit) for event in world.events} == {(0, "initial"), (1, "0-0"), (2, "1-0")}


def test_the_states_entered_are_those_that_are_paid_for(machine: dict[str, Any], training: Synthesised) -> None:
    world = World(machine, [Script(), Script(), FINISHED])
    (execution,) = world.run()
    assert len(execution.entered) == transitions(len(training.manifest.stages), training.manifest.workers, 3)


def test_a_worker_dies_and_the_whole_gang_is_tried_again(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(), Script(fates={(1, 0): Fate(after_s=10)}), FINISHED])
    (execution,) = world.run()
    assert execution.last_state == "Run complete"
    assert world.attempts == [(0, 0), (1, 0), (1, 1)]
    assert {event.commit for event in world.events if event.segment == 1} == {"0-0"}
    aborted = world.outcome(1, 0)
    assert isinstance(aborted, Abort) and aborted.failure is not None
    assert (aborted.failure.kind, aborted.failure.event.stage) == (FailureKind.DIED, 1)
    assert aborted.begun_at == pytest.approx(world.begun[1, 0], abs=0.1)
    assert aborted.at - aborted.begun_at < 12, "told as soon as it died, though the other workers go on"
    assert 1 <= gap_s(world, (1, 0), (1, 1)) - 10 < 7


def test_all_workers_die_at_once(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(fates={(s, r): Fate(after_s=5) for s in (0, 1) for r in (0, 1)}), FINISHED])
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]


def test_a_bug_in_the_users_model_fails_once_with_its_words(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(bug=(0, 1))])
    (execution,) = world.run()
    assert (execution.status, execution.last_state) == ("FAILED", "Run failed")
    assert execution.error is not None and execution.error.cause == "ValueError: the user's"
    assert world.attempts == [(0, 0)] and "putObject" not in world.requests


def test_a_function_that_cannot_be_loaded_is_not_tried_again(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(fates={(1, 0): Fate(error="Runtime.ImportModuleError")})])
    (execution,) = world.run()
    assert execution.last_state == "Run failed" and world.attempts == [(0, 0)]


def test_attempts_are_used_up(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(fates={(0, 0): Fate(error="Sandbox.Timedout")}) for _ in range(ATTEMPTS)])
    (execution,) = world.run()
    assert execution.last_state == "Run failed"
    assert world.attempts == [(0, attempt) for attempt in range(ATTEMPTS)]
    assert execution.error is not None and "Sandbox.Timedout" in execution.error.cause


def test_attempts_count_anew_in_each_segment(machine: dict[str, Any]) -> None:
    died = [Script(fates={(0, 0): Fate()}) for _ in range(2 * (ATTEMPTS - 1))]
    world = World(machine, [*died[: ATTEMPTS - 1], Script(), *died[ATTEMPTS - 1 :], FINISHED])
    (execution,) = world.run()
    assert execution.last_state == "Run complete"


def test_a_worker_dies_after_the_commit(machine: dict[str, Any]) -> None:
    """Its abort loses against the commit: the segment is done."""
    world = World(machine, [Script(fates={(1, 0): Fate(after_s=10)}, commits_anyway_at_s=9.5), FINISHED])
    (execution,) = world.run()
    assert execution.last_state == "Run complete"
    assert world.attempts == [(0, 0), (1, 0)] and isinstance(world.outcome(0, 0), Commit)


def test_the_commit_arrives_between_reading_and_aborting(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(ends=None), FINISHED])
    world.orders["putObject"] = ["late commit"]
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (1, 0)]


def test_a_zombies_commit_comes_after_the_abort(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(fates={(0, 0): Fate(after_s=10, error="States.Timeout")}, commits_anyway_at_s=20)])
    world._scripts.append(FINISHED)
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]
    assert isinstance(world.outcome(0, 0), Abort) and isinstance(world.outcome(0, 1), Commit)


def test_a_gang_that_ends_well_without_an_outcome_is_tried_again(machine: dict[str, Any]) -> None:
    """As when a second invocation of a worker ends at once, and its answer is the one that counts."""
    world = World(machine, [Script(ends=None), FINISHED])
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]
    aborted = world.outcome(0, 0)
    assert isinstance(aborted, Abort) and aborted.retryable and aborted.failure is None


def test_a_throttled_start_is_repeated_within_the_attempt(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(EndReason.FINISHED, throttled={1: 2})])
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0)]


def test_functions_that_stay_occupied_are_waited_for(machine: dict[str, Any], training: Synthesised) -> None:
    world = World(machine, [Script(throttled={1: 1000}), FINISHED])
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]
    aborted = world.outcome(0, 0)
    assert isinstance(aborted, Abort) and aborted.failure is not None
    assert aborted.failure.kind is FailureKind.THROTTLED
    assert gap_s(world, (0, 0), (0, 1)) > training.manifest.segment.timeout_s, "till a hanging worker has been ended"


def test_a_worker_that_lambda_does_not_end_is_given_up(machine: dict[str, Any], training: Synthesised) -> None:
    world = World(machine, [Script(fates={(0, 0): Fate(error=None)}, ends=None), FINISHED])
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]
    assert gap_s(world, (0, 0), (0, 1)) > training.manifest.segment.timeout_s


@pytest.mark.parametrize(("reason", "last_state"), [("budget", "Budget spent"), ("stopped", "Run stopped")])
def test_a_run_ends_where_its_commit_says_so(machine: dict[str, Any], reason: str, last_state: str) -> None:
    world = World(machine, [Script(), Script(EndReason(reason))])
    (execution,) = world.run()
    assert (execution.status, execution.last_state) == ("SUCCEEDED", last_state)
    assert world.attempts == [(0, 0), (1, 0)]


def test_storage_that_fails_for_a_moment_changes_nothing(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(ends=None), FINISHED])
    world.orders = {"getObject": ["error"] * history.STORAGE_TRIES, "putObject": ["error"] * history.STORAGE_TRIES}
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]


def test_an_abort_that_arrived_though_the_answer_did_not(machine: dict[str, Any]) -> None:
    """The repeated put loses against the first one."""
    world = World(machine, [Script(ends=None), FINISHED])
    world.orders["putObject"] = ["lost answer"]
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]


def test_without_an_abort_there_is_no_other_attempt(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(ends=None)])
    world.orders["putObject"] = ["error"] * (1 + history.STORAGE_TRIES)
    (execution,) = world.run()
    assert (execution.status, execution.last_state) == ("FAILED", "Outcome unknown")
    assert world.attempts == [(0, 0)]


def test_an_outcome_that_cannot_be_read_ends_the_run(machine: dict[str, Any]) -> None:
    world = World(machine, [Script()])
    world.orders["getObject"] = ["error"] * (1 + history.STORAGE_TRIES)
    (execution,) = world.run()
    assert (execution.status, execution.last_state) == ("FAILED", "Outcome unknown")


def test_a_workers_abort_that_is_lost_is_made_good_by_the_segments(machine: dict[str, Any]) -> None:
    world = World(machine, [Script(fates={(1, 0): Fate()}), FINISHED])
    world.orders["putObject"] = ["error"]
    (execution,) = world.run()
    assert execution.last_state == "Run complete" and world.attempts == [(0, 0), (0, 1)]
    aborted = world.outcome(0, 0)
    assert isinstance(aborted, Abort) and aborted.failure is None


def test_a_run_goes_on_in_another_execution(machine: dict[str, Any]) -> None:
    machine["States"]["Prepare"]["Parameters"]["left"] = 1
    died = Script(fates={(0, 0): Fate()})
    world = World(machine, [Script(), died, Script(), Script(), FINISHED])
    executions = world.run()
    assert world.attempts == [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
    continued = "Continued by the next execution"
    assert [execution.last_state for execution in executions] == [continued, continued, "Run complete"]
    assert executions[0].output["continued"]["ExecutionArn"] == "arn:r_1_1"
    assert {event.commit for event in world.events if event.segment == 3} == {"2-0"}


def test_an_execution_that_cannot_be_followed_by_another_fails(machine: dict[str, Any]) -> None:
    machine["States"]["Prepare"]["Parameters"]["left"] = 0
    world = World(machine, [Script()])
    world.refuse_executions()
    (execution,) = world.run()
    assert (execution.status, execution.last_state) == ("FAILED", "Start the next execution")


def test_the_machines_time_out_ends_what_nothing_else_ends(machine: dict[str, Any]) -> None:
    machine["TimeoutSeconds"] = 50
    (execution,) = World(machine, [Script()]).run()
    assert execution.status == "TIMED_OUT"


def test_back_off_grows_with_attempts_and_differs_between_runs(machine: dict[str, Any]) -> None:
    gaps = []
    for seed in range(20):
        world = World(machine, [Script(fates={(0, 0): Fate()}), Script(fates={(0, 0): Fate()}), FINISHED], seed=seed)
        world.run()
        gaps.append((gap_s(world, (0, 0), (0, 1)) - 10, gap_s(world, (0, 1), (0, 2)) - 10))
    first, second = zip(*gaps, strict=True)
    assert min(first) >= 1 and max(first) < 6.5 and max(second) < 11.5
    assert len(set(map(round, first))) > 2 and max(second) > max(first)


def test_no_attempt_has_more_events_than_were_counted_for_it(machine: dict[str, Any], training: Synthesised) -> None:
    """Everything that makes events, all at once: throttling to the limit, then deaths; storage that hesitates."""
    everywhere = {stage: 5 for stage in range(2)}
    fates = {(stage, replica): Fate(after_s=1) for stage in range(2) for replica in range(41)}
    worst = [Script(throttled=dict(everywhere), fates=fates), Script(throttled=dict(everywhere), ends=None)]
    world = World(machine, [*worst, FINISHED])
    world.orders = {"getObject": [], "putObject": ["error"] * 4}
    (execution,) = world.run()
    assert len(world.attempts) == 3, execution
    assert execution.events <= history._EXECUTION + 3 * attempt_events(training.manifest)


def test_a_commit_of_as_many_layers_as_are_allowed_passes(machine: dict[str, Any]) -> None:
    layers = history.STATES_PAYLOAD_BYTES // 2 // history._LAYER_NAME_BYTES
    (execution,) = World(machine, [FINISHED], layers=layers).run()
    assert execution.last_state == "Run complete"
    (execution,) = World(machine, [FINISHED], layers=3 * layers).run()
    assert execution.error is not None and execution.error.error == "States.DataLimitExceeded"
    with pytest.raises(UserInputError, match=rf"names {layers + 1} layers is too long.*limit: 131072"):
        attempts_per_execution(make_manifest(layers=[layers, 1]))


def test_a_history_holds_what_is_counted_on() -> None:
    for replicas in ([1, 1], [40, 40], [200, 41]):
        manifest = make_manifest(stages=2, replicas=replicas)
        attempts = attempts_per_execution(manifest)
        assert attempts >= 1
        assert history._EXECUTION + attempts * attempt_events(manifest) <= STATES_HISTORY_EVENTS
