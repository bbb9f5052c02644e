"""Model of how the workers of a gang all end before the same iteration (docs/protocol.md, "Segment", step 2).

2 stages x 2 replicas. Only what makes a worker wait is modelled, and as little of it as there is in any schedule: each
replica of stage 0 has one of stage 1 behind it, and a stage with parameters sums their gradients once an iteration.

    stage 0, replica r    begin c   activation(r, c) ─┐            ┌─► sum(0, c) ─► begin c+1
    stage 1, replica r    begin c                     └─► gradient(r, c), sum(1, c) ─► begin c+1

A question for ``end`` is answered, with what storage holds then, at any moment after it was asked; the next one is
asked at the start of the first iteration after the answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

LAST_START = 1
"""The leader decides at the latest when it begins this iteration: what follows is the same, shifted."""


@dataclass(frozen=True)
class Rules:
    """What the workers do."""

    lead: int
    certain_after_question: int
    """Finding nothing, asked at the start of iteration i, makes the iterations before i + this one certain."""
    sums: tuple[bool, bool] = (True, True)
    """Has the stage parameters? Replicas without do not wait for one another, nor in stage 0 for gradients."""

    @property
    def iterations(self) -> int:
        """Of the run: all know it, and end there without being told."""
        return LAST_START + self.lead


class Worker(NamedTuple):
    iteration: int = -1
    """Begun last."""
    given: bool = True
    """Has it given its part of this iteration's sum?"""
    asked: int | None = None
    """The iteration at whose start it asked the question that has not been answered yet."""
    certain: int = 0
    """Iterations before this one are certain."""
    end: int | None = None
    """What it was told."""
    stopped: bool = False


class State(NamedTuple):
    workers: tuple[Worker, ...]
    """Stage 0's replicas, then stage 1's. The first is the leader."""
    end: int | None = None


def start(rules: Rules) -> State:
    """Nobody has begun; ``go`` had no end, so the leader has not begun with one."""
    return State((Worker(certain=rules.lead),) * 4)


def wrong(state: State, rules: Rules) -> str | None:
    # A stage 0 without parameters has nothing to save; its replica 1 may go beyond the end, unheeded.
    counted = [worker for index, worker in enumerate(state.workers) if rules.sums[0] or index != 1]
    stops = {worker.iteration + 1 for worker in counted if worker.stopped}
    if len(stops) > 1:
        return f"workers ended before different iterations: {sorted(stops)}"
    begun = max(worker.iteration for worker in counted)
    return (
        None if state.end is None or begun < state.end else f"iteration {begun} was begun, and the end was {state.end}"
    )


def ended(state: State) -> bool:
    return all(worker.stopped for worker in state.workers)


def steps(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    for index, worker in enumerate(state.workers):
        if worker.stopped:
            continue
        who = f"stage {index // 2}, replica {index % 2}"
        if worker.asked is not None:
            answered = worker._replace(asked=None)
            if state.end is None:
                answered = answered._replace(certain=max(worker.certain, worker.asked + rules.certain_after_question))
            else:
                answered = answered._replace(end=state.end)
            yield f"{who}, asked at {worker.asked}, is told {state.end}", _with(state, index, answered)
        if not worker.given and _may_give(state, index, rules):
            yield f"{who} gives its sum of {worker.iteration}", _with(state, index, worker._replace(given=True))
        if worker.given and _summed(state, index, rules):
            yield from _beginning(state, index, who, rules)


def _beginning(state: State, index: int, who: str, rules: Rules) -> Iterator[tuple[str, State]]:
    """A worker ends, or begins its next iteration; before that, the leader may write the end."""
    worker, leads = state.workers[index], index == 0
    following = worker.iteration + 1
    known = state.end if leads else worker.end
    if following == rules.iterations or (known is not None and following >= known):
        yield f"{who} ends before {following}", _with(state, index, worker._replace(stopped=True, asked=None))
    elif leads:
        begun = worker._replace(iteration=following, given=False)
        if state.end is not None or following < LAST_START:
            yield f"the leader begins {following}", _with(state, index, begun)
        if state.end is None:
            decided = _with(state, index, begun)._replace(end=following + rules.lead)
            yield f"the leader writes end = {decided.end}, and begins {following}", decided
    elif index == 1 and not rules.sums[0]:
        # Whatever it hears of the end: nobody waits for it.
        yield f"{who} begins {following}", _with(state, index, worker._replace(iteration=following, given=False))
    elif known is not None or following < worker.certain:
        asked = following if worker.asked is None and known is None else worker.asked
        yield (
            f"{who} begins {following}",
            _with(state, index, worker._replace(iteration=following, given=False, asked=asked)),
        )
    elif worker.asked is None:
        yield f"{who} asks before {following}", _with(state, index, worker._replace(asked=following))


def _may_give(state: State, index: int, rules: Rules) -> bool:
    """Stage 1 needs its activation, which stage 0 sends on beginning; stage 0 needs stage 1's gradient for it."""
    stage, iteration = index // 2, state.workers[index].iteration
    if stage == 0 and not rules.sums[0]:
        return True
    peer = state.workers[index + 2 if stage == 0 else index - 2]
    return peer.iteration > iteration or (peer.iteration == iteration and (stage == 1 or peer.given))


def _summed(state: State, index: int, rules: Rules) -> bool:
    """Have all replicas of the stage given their part of this iteration's sum?"""
    stage, iteration = index // 2, state.workers[index].iteration
    replicas = state.workers[2 * stage : 2 * stage + 2] if rules.sums[stage] else ()
    return all(worker.iteration > iteration or (worker.iteration == iteration and worker.given) for worker in replicas)


def _with(state: State, index: int, worker: Worker) -> State:
    return state._replace(workers=(*state.workers[:index], worker, *state.workers[index + 1 :]))
