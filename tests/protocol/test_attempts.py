"""At most one commit of a segment, and it is complete; every run ends: over all interleavings of docs/protocol.md."""

from functools import partial

import pytest

from tests.protocol import attempts
from tests.protocol.attempts import Fault, Outcome, Phase, State
from tests.protocol.checker import explore, stranded

EXPECTED = {
    Fault.UNCONDITIONAL_PUT: "an outcome was written over",
    Fault.NO_FENCING: "two commits of one segment",
    Fault.LOST_PUT_IS_AN_ABORT: "two commits of one segment",
    Fault.NO_CLAIMS: "two processes are the same worker",
    Fault.KEYS_WITHOUT_ATTEMPT: "a commit names what another attempt wrote",
    Fault.NO_WAIT_FOR_SUMMARIES: "the committed checkpoint lacks layers",
    Fault.SUMMARY_BEFORE_LAYERS: "the committed checkpoint lacks layers",
    Fault.SWEEP_BY_LISTING: "the committed checkpoint lacks layers",
}


def test_at_most_one_complete_commit_and_an_end_whatever_the_workers_do() -> None:
    found = explore(State(), attempts.steps, attempts.wrong)
    assert found.wrong is None, found.trace
    # Not for want of commits: of each attempt, also after the other was aborted, and by a zombie of a run given up.
    for outcomes in [(Outcome.COMMITTED, Outcome.NONE), (Outcome.ABORTED, Outcome.COMMITTED)]:
        assert any(state.outcomes == outcomes for state in found.came_from)
    assert any(attempts.ended(s) and s.outcomes[0] is Outcome.NONE and s.in_flight[0] for s in found.came_from)
    assert any(max(state.gangs[0][0]) == max(state.gangs[1][0]) == Phase.OUTCOME for state in found.came_from)
    # All workers may hang for ever, or be dead: the workflow and storage alone end the run.
    assert stranded(found.came_from, attempts.workflow_steps, attempts.ended) is None


@pytest.mark.parametrize("fault", EXPECTED)
def test_the_checker_finds(fault: Fault) -> None:
    """Depth first, as far as the first wrong state."""
    steps = partial(attempts.steps, fault=fault)
    found = explore(State(), steps, attempts.wrong, depth_first=True)
    assert found.wrong == EXPECTED[fault]


def test_the_checker_finds_a_workflow_that_waits_for_the_dead() -> None:
    fault = Fault.WORKFLOW_WAITS_FOR_AN_OUTCOME
    found = explore(State(), partial(attempts.steps, fault=fault), attempts.wrong)
    assert found.wrong is None
    waiting = stranded(found.came_from, partial(attempts.workflow_steps, fault=fault), attempts.ended)
    assert waiting is not None and waiting.outcomes[waiting.attempt] is Outcome.NONE


def test_every_fault_is_looked_for() -> None:
    assert set(Fault) == EXPECTED.keys() | {Fault.WORKFLOW_WAITS_FOR_AN_OUTCOME}
