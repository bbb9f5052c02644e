"""Model of a segment's attempts: claims, barrier, layers, summaries, outcomes, and the workflow that decides.

2 attempts of 2 stages x 2 replicas, each worker invoked twice: 16 processes, the workflow, and requests of the
workflow that arrive after it has given them up. What a process wrote follows from how far it has come, since nothing
of an attempt is deleted. A crash, a hang, and an end on seeing the outcome are all "takes no further step"; a zombie is
a process that goes on after all.

Equal roles are kept sorted, so that states which differ only in who is who count once.
"""

from collections.abc import Iterator
from enum import IntEnum, StrEnum, auto
from typing import NamedTuple, TypeVar

T = TypeVar("T")

ATTEMPTS = 2
LEADER, WRITER, PLAIN = 0, 1, (2, 3)
"""Replica 0 of stage 0, replica 0 of stage 1, and the replicas 1, which write no layers."""
NAMES = ("leader", "writer", "plain worker", "plain worker")


class Number(IntEnum):
    """Hashed by its value: an Enum's own hash, in Python, would take half of all time."""

    __hash__ = int.__hash__


class Phase(Number):
    """How far a process has come: the last thing it did."""

    INVOKED = 0
    CLAIMED = 1
    READY = 2
    GO = 3
    LAYERS = 4
    SUMMARY = 5
    OUTCOME = 6


class Outcome(Number):
    NONE = 0
    COMMITTED = 1
    ABORTED = 2


class Workflow(Number):
    """What the workflow does next."""

    AWAIT_GANG = 0
    DECIDE = 1
    ENDED = 2


class Fault(StrEnum):
    """Ways to break the protocol; the checker must see what comes of each."""

    UNCONDITIONAL_PUT = auto()
    NO_FENCING = auto()
    LOST_PUT_IS_AN_ABORT = auto()
    NO_CLAIMS = auto()
    KEYS_WITHOUT_ATTEMPT = auto()
    NO_WAIT_FOR_SUMMARIES = auto()
    SUMMARY_BEFORE_LAYERS = auto()
    SWEEP_BY_LISTING = auto()
    WORKFLOW_WAITS_FOR_AN_OUTCOME = auto()


class State(NamedTuple):
    workflow: Workflow = Workflow.AWAIT_GANG
    attempt: int = 0
    outcomes: tuple[Outcome, ...] = (Outcome.NONE,) * ATTEMPTS
    ever_committed: int = 0
    """Commits so far, also those written over."""
    in_flight: tuple[bool, ...] = (False,) * ATTEMPTS
    """The workflow's abort of the attempt has been sent, and not been answered."""
    gangs: tuple[tuple[tuple[Phase, Phase], ...], ...] = (((Phase.INVOKED,) * 2,) * 4,) * ATTEMPTS
    """Of each attempt and worker, the phases of its two invocations."""
    layers: tuple[bool, bool] = (False, False)
    """Of each stage, is its state at the segment's end stored (by whichever attempt: equal state is one object)?"""
    sweep: tuple[bool, bool] | None = None
    """What a zombie of the segment before has on its list for deletion."""
    wrong: str | None = None


def wrong(state: State) -> str | None:
    if state.wrong:
        return state.wrong
    if state.ever_committed > 1:
        return "two commits of one segment"
    if Outcome.COMMITTED in state.outcomes and not all(state.layers):
        return "the committed checkpoint lacks layers"
    if any(first > Phase.INVOKED and second > Phase.INVOKED for gang in state.gangs for first, second in gang):
        return "two processes are the same worker"
    return None


def ended(state: State) -> bool:
    return state.workflow is Workflow.ENDED


def steps(state: State, fault: Fault | None = None) -> Iterator[tuple[str, State]]:
    yield from workflow_steps(state, fault)
    for attempt, sent in enumerate(state.in_flight):
        if sent:
            arrived = _put(state, attempt, Outcome.ABORTED, fault)
            yield (
                f"the abort of attempt {attempt} that was given up arrives",
                arrived._replace(in_flight=_with(state.in_flight, attempt, False)),
            )
    for attempt in range(state.attempt + 1):
        yield from _gang_steps(state, attempt, fault)
    if fault is Fault.SWEEP_BY_LISTING:
        yield from _sweeper_steps(state)


def workflow_steps(state: State, fault: Fault | None = None) -> Iterator[tuple[str, State]]:
    """The workflow alone, and storage that answers it: what must end every run, whatever the workers do."""
    attempt = state.attempt
    if state.workflow is Workflow.AWAIT_GANG:
        # All have returned, or one has failed or timed out: neither says that the others have stopped.
        yield f"the workflow sees the end of attempt {attempt}", state._replace(workflow=Workflow.DECIDE)
    elif state.workflow is Workflow.DECIDE:
        if fault is Fault.NO_FENCING:
            yield from _after_abort(state)
        outcome = state.outcomes[attempt]
        if outcome is Outcome.COMMITTED and fault is not Fault.LOST_PUT_IS_AN_ABORT:
            yield "the workflow reads: committed", state._replace(workflow=Workflow.ENDED)
        elif outcome is not Outcome.NONE:
            yield from _after_abort(state)
        elif fault is not Fault.WORKFLOW_WAITS_FOR_AN_OUTCOME:
            # Both answers: the put's own one, and one that is lost after the request was sent.
            yield f"the workflow aborts attempt {attempt}", _put(state, attempt, Outcome.ABORTED, fault)
            sent = state._replace(in_flight=_with(state.in_flight, attempt, True))
            yield f"the workflow's abort of attempt {attempt} is not answered", sent
            yield "the workflow gives up", sent._replace(workflow=Workflow.ENDED)
        if fault is Fault.UNCONDITIONAL_PUT:
            # It has read that there is no outcome, and writes later.
            yield f"the workflow aborts attempt {attempt}", _put(state, attempt, Outcome.ABORTED, fault)


def _after_abort(state: State) -> Iterator[tuple[str, State]]:
    if state.attempt + 1 < ATTEMPTS:
        following = state._replace(attempt=state.attempt + 1, workflow=Workflow.AWAIT_GANG)
        yield f"the workflow starts attempt {following.attempt}", following
    yield "the workflow ends the run: cause not retryable, or attempts used up", state._replace(workflow=Workflow.ENDED)


def _gang_steps(state: State, attempt: int, fault: Fault | None) -> Iterator[tuple[str, State]]:
    who = f"of attempt {attempt}"
    # Any process may raise, at any time, and so may the owner stop the run; it may reach the store much later.
    if state.outcomes[attempt] is not Outcome.ABORTED:
        yield f"a worker {who} raises, or its owner stops it", _put(state, attempt, Outcome.ABORTED, fault)
    gang = state.gangs[attempt]
    for worker, invocations in enumerate(gang):
        for invocation, phase in enumerate(invocations):
            following = _following(state, attempt, worker, phase, invocations[1 - invocation], fault)
            if following is None:
                continue
            moved = _moved(state, attempt, worker, invocation, following)
            if following is Phase.LAYERS:
                moved = moved._replace(layers=_with(state.layers, worker, True))
            elif following is Phase.OUTCOME:
                moved = _commit(moved, attempt, fault)
            yield f"{NAMES[worker]} {who}: {following.name.lower()}", moved


def _following(state: State, attempt: int, worker: int, phase: Phase, twin: Phase, fault: Fault | None) -> Phase | None:
    """What a process can do next, or None while it has to wait, for ever perhaps."""

    def present(phase: Phase, workers: range = range(4)) -> bool:
        """Have these workers written the record that a process writes on coming to ``phase``?"""
        attempts = range(ATTEMPTS) if fault is Fault.KEYS_WITHOUT_ATTEMPT else (attempt,)
        return all(any(max(state.gangs[a][w]) >= phase for a in attempts) for w in workers)

    early = fault is Fault.SUMMARY_BEFORE_LAYERS
    match phase:
        case Phase.INVOKED:
            return Phase.CLAIMED if twin is Phase.INVOKED or fault is Fault.NO_CLAIMS else None
        case Phase.CLAIMED:
            return Phase.READY
        case Phase.READY if worker == LEADER:
            return Phase.GO if present(Phase.READY) else None
        case Phase.READY | Phase.GO:
            if not present(Phase.GO, range(1)):
                return None
            return Phase.LAYERS if worker in (LEADER, WRITER) and not early else Phase.SUMMARY
        case Phase.LAYERS:
            return Phase.SUMMARY
        case Phase.SUMMARY if worker == LEADER:
            return Phase.OUTCOME if fault is Fault.NO_WAIT_FOR_SUMMARIES or present(Phase.SUMMARY) else None
    return None


def _commit(state: State, attempt: int, fault: Fault | None) -> State:
    """The leader's put. When it loses, the leader ends; when it was its own, sent twice, nothing is different."""
    foreign = fault is Fault.KEYS_WITHOUT_ATTEMPT and not all(
        max(invocations) >= Phase.SUMMARY for invocations in state.gangs[attempt]
    )
    after = _put(state, attempt, Outcome.COMMITTED, fault)
    if foreign and after.ever_committed > state.ever_committed:
        return after._replace(wrong="a commit names what another attempt wrote")
    return after


def _put(state: State, attempt: int, outcome: Outcome, fault: Fault | None) -> State:
    """A conditional put arrives."""
    there = state.outcomes[attempt]
    if there is outcome or (there is not Outcome.NONE and fault is not Fault.UNCONDITIONAL_PUT):
        return state
    if there is not Outcome.NONE:
        state = state._replace(wrong="an outcome was written over")
    committed = state.ever_committed + (outcome is Outcome.COMMITTED)
    return state._replace(outcomes=_with(state.outcomes, attempt, outcome), ever_committed=committed)


def _sweeper_steps(state: State) -> Iterator[tuple[str, State]]:
    """The leader of the segment before still clears up: it lists what no commit names, and deletes it later."""
    if state.sweep is None:
        if any(state.layers) and Outcome.COMMITTED not in state.outcomes:
            yield "a zombie of the segment before lists layers that no commit names", state._replace(sweep=state.layers)
    else:
        for stage, listed in enumerate(state.sweep):
            if listed:
                yield (
                    f"it deletes those of stage {stage}",
                    state._replace(layers=_with(state.layers, stage, False), sweep=_with(state.sweep, stage, False)),
                )


def _moved(state: State, attempt: int, worker: int, invocation: int, phase: Phase) -> State:
    gang = list(state.gangs[attempt])
    gang[worker] = tuple(sorted(_with(gang[worker], invocation, phase)))
    gang[PLAIN[0] :] = sorted(gang[PLAIN[0] :])
    return state._replace(gangs=_with(state.gangs, attempt, tuple(gang)))


def _with(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])
