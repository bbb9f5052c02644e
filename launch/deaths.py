"""What is said of a worker that died without a word: where it was, as far as it had told, and what may have ended it.

Lambda's words are those of docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html, read 2026-11-21.
"""

import json

from runtime.manifest import Manifest
from runtime.records import Failure, FailureKind, Progress


def explained(failure: Failure, manifest: Manifest, progress: Progress | None) -> Failure:
    """``failure`` with the iteration that ``progress`` last told of, and with advice; unchanged if it is no death."""
    if failure.kind is not FailureKind.DIED:
        return failure
    iteration = failure.iteration if progress is None else progress.iteration
    return failure.model_copy(update={"iteration": iteration, "error": _in_words(failure, manifest)})


def _in_words(failure: Failure, manifest: Manifest) -> str:
    name, _, cause = failure.error.partition(": ")
    try:
        told = json.loads(cause)
        said = f"{name}: {told['errorMessage'] if 'errorMessage' in told else told['message']}"
    except (ValueError, KeyError, TypeError):
        said = failure.error
    advice = _advice(said, manifest, failure.event.stage)
    return f"{said}\n{advice}" if advice else said


def _advice(said: str, manifest: Manifest, stage: int) -> str:
    if "TooManyRequests" in said:
        return (
            "Lambda refused to start the worker: the function's concurrency is taken by another run, or by one that "
            "has just been stopped. Start again when that has ended, or deploy a second stack with -c stack=NAME."
        )
    if "signal: killed" in said or "OutOfMemory" in said:
        memory_mb = manifest.stages[stage].memory_mb
        return (
            f"This is how Lambda ends a function that outgrows its memory ({memory_mb} MB; predicted: "
            f"{manifest.stages[stage].predicted.memory_mb:.0f} MB). If its log says so, leave {memory_mb} out of "
            "limits.memory_mb or use smaller micro-batches, and plan again."
        )
    if "Timedout" in said or "timed out" in said:
        return (
            f"The function's timeout is {manifest.segment.timeout_s} s, and the worker hung. Its log tells what it did "
            "last."
        )
    return ""
