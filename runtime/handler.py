"""The Lambda entry: from event and environment to a worker, and from a failure to the records that explain it.

Environment: FUNCPIPE_STAGE, FUNCPIPE_ARTIFACTS_URL, FUNCPIPE_INBOX_URLS (JSON object: stage number to store URL, of the
stage itself and its neighbours), FUNCPIPE_SOURCE (folder of the user's modules, relative to the code's root);
optional: FUNCPIPE_THREADS, FUNCPIPE_LINK (JSON of ``store_wrappers.LinkSpec``: slow the stores down to a given link),
FUNCPIPE_FAULTS (JSON of ``store_faults.FaultSpec``: make the stores fail),
FUNCPIPE_LOG_LEVEL (a ``log.LogLevel``; INFO if absent), FUNCPIPE_METRICS (name of this deployment:
metrics are written to the log); both in ``handler`` only.
"""

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime import keys
from runtime.cold_start import StoreAhead
from runtime.errors import FuncpipeError, UserInputError, WorkerFailed
from runtime.limits import LAMBDA_MEMORY_PER_VCPU_MB
from runtime.log import LogLevel, worker_log
from runtime.manifest import Manifest, parse_manifest
from runtime.metrics import IterationDone, MetricLines
from runtime.process import age_s
from runtime.records import Failure, WorkerEvent, WorkerSummary
from runtime.source import source_sha256
from runtime.store import KeyNotFound, Store
from runtime.store_faults import FaultSpec, FaultyStore
from runtime.store_retries import RetryingStore
from runtime.store_urls import open_store
from runtime.store_wrappers import CountingStore, Link, LinkSpec, ThrottledStore, TrafficCounter

_start_up_s = [age_s()]
"""Of this environment, until its first invocation takes it: AWS bills it with that one."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """AWS Lambda's entry: runs one worker for one segment, logs how it went, returns a small account of it."""
    log = worker_log(event, LogLevel(os.environ.get("FUNCPIPE_LOG_LEVEL", LogLevel.INFO)))
    log.info("worker started", facts={"request_id": context.aws_request_id})
    metrics: MetricLines | None = None

    def observe(done: IterationDone) -> None:
        log.debug("iteration done", facts=asdict(done))
        if metrics is not None:
            metrics.add(done)

    def end_process(failure: Failure) -> None:
        log.error("worker failed, and was ended while it was computing", facts=_told(failure))
        sys.stdout.flush()
        os._exit(1)

    try:
        if (training := os.environ.get("FUNCPIPE_METRICS")) is not None:
            metrics = MetricLines(training, WorkerEvent.model_validate(event), lambda line: print(line, flush=True))
        with metrics.writing() if metrics is not None else nullcontext():
            summary = handle(
                event,
                os.environ,
                request_id=context.aws_request_id,
                remaining_s=lambda: context.get_remaining_time_in_millis() / 1000,
                init_s=_start_up_s.pop() if _start_up_s else 0.0,
                observe=observe,
                end_process=end_process,
            )
    except Exception as error:
        failure = error.failure if isinstance(error, WorkerFailed) else None
        log.error("worker failed", facts=_told(failure) if failure else {"error": f"{type(error).__name__}: {error}"})
        raise
    if summary is None:
        log.warning("worker runs already; this invocation ends", facts={"request_id": context.aws_request_id})
        return {"duplicate": True}
    log.info("worker finished", facts=_account(summary))
    return {"stage": summary.event.stage, "replica": summary.event.replica, "end_iteration": summary.end_iteration}


def _told(failure: Failure) -> dict[str, Any]:
    return failure.model_dump(include={"kind", "iteration", "instruction", "error", "traceback"})


def _account(summary: WorkerSummary) -> dict[str, Any]:
    return {
        "seconds": summary.ended_at - summary.started_at,
        "first_iteration": summary.first_iteration,
        "end_iteration": summary.end_iteration,
        "peak_memory_mb": summary.peak_memory_mb,
        **summary.traffic.model_dump(),
    }


def _end_process(failure: Failure) -> None:
    from runtime.failures import message_of

    print(f"ended while it was computing: {message_of(failure)}", file=sys.stderr, flush=True)
    os._exit(1)


def handle(
    event: dict[str, Any],
    environment: Mapping[str, str],
    *,
    request_id: str,
    remaining_s: Callable[[], float],
    init_s: float = 0.0,
    observe: Callable[[IterationDone], None] = lambda done: None,
    end_process: Callable[[Failure], None] = _end_process,
) -> WorkerSummary | None:
    """Runs one worker wherever it is: on Lambda, on the embedded AWS, in a local process.

    Args:
        request_id: of the invocation.
        remaining_s: until the worker is ended from outside.
        init_s: billed for the environment's start-up.
        observe: called after each iteration.
        end_process: does not return; is given why, when the worker has to stop and is in the user's code for long. What
            there is to leave in storage has been left.

    Returns:
        None when the same worker of the same gang has been started before: an event may be delivered twice.

    Raises:
        WorkerFailed: with the stage, replica and cause; the same is in the run's failure record.
        FuncpipeError: the event is another stage's.
    """
    started_at, began = time.time(), time.monotonic()
    first_remaining_s = remaining_s()
    worker_event = WorkerEvent.model_validate(event)
    counter = TrafficCounter()
    own, inboxes = _stores(environment, counter)
    if int(environment["FUNCPIPE_STAGE"]) != worker_event.stage:
        raise FuncpipeError(f"this is the function of stage {environment['FUNCPIPE_STAGE']}, not {worker_event.stage}")
    with closing(StoreAhead(own)) as artifacts:
        if "torch" not in sys.modules:
            artifacts.fetch_stage(worker_event)
        # Only now what imports torch.
        import torch

        from runtime.barrier import claim
        from runtime.failures import failure_of, leave, message_of
        from runtime.worker import Invocation, Worker

        torch.set_num_threads(_threads(environment))
        worker: Worker | None = None
        gang = keys.GangKeys(worker_event.run, worker_event.segment, worker_event.attempt)

        def end(error: BaseException) -> None:
            assert worker is not None
            failure = failure_of(worker_event, worker.position, worker.lanes.first_error or error)
            try:
                leave(failure, artifacts, gang, begun_at=started_at - init_s)
            finally:
                end_process(failure)

        try:
            if not claim(artifacts, gang, (worker_event.stage, worker_event.replica), request_id):
                return None
            manifest = _deployed_manifest(artifacts, worker_event)
            worker = Worker(
                Invocation(
                    event=worker_event,
                    manifest=manifest,
                    inboxes=inboxes,
                    artifacts=artifacts,
                    source=_planned_source(environment, manifest),
                    counter=counter,
                    request_id=request_id,
                    started_at=started_at,
                    remaining_s=_life(first_remaining_s, float(manifest.segment.timeout_s), began),
                    init_s=init_s,
                    began=began,
                    observe=observe,
                    end=end,
                )
            )
            return worker.run()
        except Exception as error:  # whatever the user's model raises must stop the gang and be told
            cause = (worker and worker.lanes.first_error) or error
            failure = failure_of(worker_event, worker.position if worker else (None, "start"), cause)
            leave(failure, artifacts, gang, begun_at=started_at - init_s)
            raise WorkerFailed(message_of(failure), failure) from cause


def _life(told_s: float, timeout_s: float, began: float) -> Callable[[], float]:
    """Seconds until the worker is ended from outside, of which it was told ``told_s`` when it ``began``.

    Lambda's context compares the deadline with the wall clock. That clock may be wrong: a worker has at most the
    functions' timeout, and one that begins has time.
    """
    first_s = min(told_s, timeout_s) if told_s > 0 else timeout_s
    return lambda: first_s - (time.monotonic() - began)


def _threads(environment: Mapping[str, str]) -> int:
    if "FUNCPIPE_THREADS" in environment:
        return int(environment["FUNCPIPE_THREADS"])
    memory_mb = int(environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", LAMBDA_MEMORY_PER_VCPU_MB))
    return max(1, min(os.cpu_count() or 1, math.ceil(memory_mb / LAMBDA_MEMORY_PER_VCPU_MB)))


def _stores(environment: Mapping[str, str], counter: TrafficCounter) -> tuple[Store, dict[int, Store]]:
    link = Link(LinkSpec.model_validate_json(environment["FUNCPIPE_LINK"])) if "FUNCPIPE_LINK" in environment else None

    faults = FaultSpec.model_validate_json(environment.get("FUNCPIPE_FAULTS", "{}"))

    def open_counted(url: str) -> Store:
        store = open_store(url)
        if faults.rules:
            store = FaultyStore(store, faults)
        if link:
            store = ThrottledStore(store, link)
        return RetryingStore(CountingStore(store, counter))

    inbox_urls: dict[str, str] = json.loads(environment["FUNCPIPE_INBOX_URLS"])
    artifacts = open_counted(environment["FUNCPIPE_ARTIFACTS_URL"])
    return artifacts, {int(stage): open_counted(url) for stage, url in inbox_urls.items()}


def _deployed_manifest(artifacts: Store, event: WorkerEvent) -> Manifest:
    """The run's manifest, if it is the plan that was deployed."""
    key = keys.manifest(event.run)
    try:
        text = artifacts.get(key)
    except KeyNotFound:
        raise UserInputError(f"run {event.run} has no manifest in storage; start it with `funcpipe start`") from None
    if (found := hashlib.sha256(text).hexdigest()) != event.manifest_sha256:
        raise UserInputError(
            f"{key} is not the plan that was deployed (SHA-256: {found}, deployed: {event.manifest_sha256}); "
            "deploy it with `cdk deploy`, or start the run with the deployed manifest"
        )
    return parse_manifest(text, key)


def _planned_source(environment: Mapping[str, str], manifest: Manifest) -> Path:
    """The folder of the user's modules, if it is what was planned for: an image may have been built by anybody."""
    folder = Path(environment.get("LAMBDA_TASK_ROOT", "."), environment["FUNCPIPE_SOURCE"])
    if (found := source_sha256(folder)) != manifest.hashes.source:
        raise UserInputError(
            f"{folder} is not the source that the plan was made for (SHA-256: {found}, planned: "
            f"{manifest.hashes.source}); deploy code or an image that has it, or plan again with `funcpipe plan`"
        )
    return folder
