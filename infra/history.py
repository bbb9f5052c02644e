"""How much of a run fits into one execution of Step Functions: events of its history, attempts, seconds.

A run of any length is a chain of executions: each goes through as many attempts at segments as its history holds in the
worst case, and then starts the next one.

Events by the documentation's list (API_HistoryEvent, read 2026-11-21): a state is entered and exited; a task is also
scheduled and started, and succeeds or fails; so does each repetition of it, but for entering and exiting; a Parallel or
Map state is started and succeeds besides, and so does each iteration of an inline Map. A Distributed Map's iterations
have histories of their own.
"""

from runtime import manifest as plan
from runtime.errors import UserInputError
from runtime.limits import (
    STATES_EXECUTION_S,
    STATES_HISTORY_EVENTS,
    STATES_INLINE_MAP_CONCURRENCY,
    STATES_PAYLOAD_BYTES,
)

THROTTLED_TRIES = 5
"""Of starting a worker, after 1, 2, 4, 8 and 16 s: less than the workers that have started wait for the missing one."""
STORAGE_TRIES = 3
"""Of reading or writing an outcome, after 1, 2 and 4 s."""
START_SLACK_S = 60
"""For starting the gang's functions and Step Functions' own work, per attempt."""
LONGEST_BACK_OFF_S = 60
"""Between two attempts, unless a function is still occupied by a worker of the attempt before."""

_STATE, _TASK, _REPEATED, _FORKED, _ITERATION = 2, 5, 3, 4, 2
_EXECUTION = 2 + _STATE + _TASK + STORAGE_TRIES * _REPEATED + _STATE
"""The execution itself, Prepare, starting the next execution, the last state."""
_LAYER_NAME_BYTES = 80
"""Of a layer's file in a commit: 70 characters, its quotation marks, which are escaped in an object's body, a comma."""


def attempt_events(manifest: plan.Manifest) -> int:
    """Events of one attempt at a segment in the worst case: all starts throttled as often as may be, one worker of each
    stage failed, every request to storage repeated as often as may be."""
    worker = _ITERATION + _TASK + THROTTLED_TRIES * _REPEATED
    failed = _STATE + _TASK + _STATE
    gang = _FORKED
    for stage in manifest.stages:
        inline = stage.replicas <= STATES_INLINE_MAP_CONCURRENCY
        gang += _FORKED + (worker * stage.replicas + failed if inline else 2)
    requests = 3 * (_TASK + STORAGE_TRIES * _REPEATED)  # read, abort, read again
    return gang + requests + 6 * _STATE  # three choices, back off, wait, the next attempt


def attempts_per_execution(manifest: plan.Manifest) -> int:
    """How many attempts one execution goes through before it starts the next one.

    Raises:
        UserInputError: not one attempt fits into a history, or what one commits does not fit into a state's data.
    """
    events, room = attempt_events(manifest), STATES_HISTORY_EVENTS - _EXECUTION
    if events > room:
        raise UserInputError(
            f"one segment could outgrow the history of an execution of Step Functions (workers: {manifest.workers}, "
            f"history events: {events}, limit: {room}). Plan again with fewer replicas (limits.max_replicas)."
        )
    commit = manifest.layer_count * _LAYER_NAME_BYTES
    if commit > STATES_PAYLOAD_BYTES // 2:
        raise UserInputError(
            f"a commit that names {manifest.layer_count} layers is too long for Step Functions (bytes: {commit}, "
            f"limit: {STATES_PAYLOAD_BYTES // 2}). Plan again with a model of fewer, larger layers."
        )
    return min(room // events, STATES_EXECUTION_S // attempt_s(manifest))


def attempt_s(manifest: plan.Manifest) -> int:
    """Seconds that one attempt may take at most, the wait before the next one included."""
    gang = manifest.segment.timeout_s + START_SLACK_S
    return gang + max(LONGEST_BACK_OFF_S, manifest.segment.timeout_s) + START_SLACK_S
