"""One segment of a plan, trained by the image's Python: every worker a process under the real Lambda runtime client."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from launch.staging import stage_run
from localaws.execution_environment import ExecutionEnvironment, FunctionVersion, Host, Result
from localaws.guardian import Guardian
from runtime import keys
from runtime.errors import FuncpipeError
from runtime.manifest import Manifest
from runtime.records import WorkerEvent, WorkerSummary
from runtime.store_directory import DirectoryStore

RUN = "rehearsal"


@dataclass(frozen=True)
class Code:
    """What the workers run in: an interpreter, the folder that is the image's LAMBDA_TASK_ROOT, and CMD."""

    python: Path
    task_root: Path
    handler: str


def train_segment(manifest: Manifest, source: Path, code: Code, folder: Path) -> list[WorkerSummary]:
    """Trains segment 0 over a directory store in ``folder``. Returns the workers' accounts by stage and replica.

    Memory sizes, time-out and number of workers are the plan's.

    Args:
        source: the user's source folder, from which data and initial weights come; the workers have the image's.

    Raises:
        UserInputError: the data or the model is not what the plan was made for.
        FuncpipeError: a worker failed; its message and log are in the message.
    """
    artifacts = folder / "artifacts"
    store = DirectoryStore(artifacts)
    stage_run(manifest, source, RUN, store)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as ends:
        guardian = Guardian()
        ends.callback(guardian.close)
        host = Host(code.python, folder, guardian)
        workers = []
        for event in _events(manifest):
            environment = ExecutionEnvironment(_function(manifest, event.stage, code, folder), host)
            ends.callback(environment.stop)
            workers.append((environment, event))
        with ThreadPoolExecutor(len(workers)) as threads:
            calls = [
                threads.submit(environment.invoke, event.model_dump_json().encode(), str(uuid4()))
                for environment, event in workers
            ]
            results = [call.result() for call in calls]
    _check(results)
    gang = keys.GangKeys(RUN, 0, 0)
    return [
        WorkerSummary.model_validate_json(store.get(gang.summary(event.stage, event.replica))) for _, event in workers
    ]


def _function(manifest: Manifest, stage: int, code: Code, folder: Path) -> FunctionVersion:
    near = range(max(0, stage - 1), min(len(manifest.stages), stage + 2))
    variables = {
        "FUNCPIPE_STAGE": str(stage),
        "FUNCPIPE_SOURCE": "source",
        "FUNCPIPE_ARTIFACTS_URL": (folder / "artifacts").as_uri(),
        "FUNCPIPE_INBOX_URLS": json.dumps({str(other): (folder / f"inbox-{other}").as_uri() for other in near}),
    }
    return FunctionVersion(
        name=f"stage-{stage}",
        arn=f"arn:aws:lambda:us-east-1:000000000000:function:stage-{stage}",
        handler=code.handler,
        code=code.task_root,
        memory_mb=manifest.stages[stage].memory_mb,
        timeout_s=manifest.segment.timeout_s,
        variables=tuple(variables.items()),
    )


def _events(manifest: Manifest) -> Iterator[WorkerEvent]:
    for index, stage in enumerate(manifest.stages):
        for replica in range(stage.replicas):
            yield WorkerEvent(
                run=RUN,
                segment=0,
                attempt=0,
                stage=index,
                replica=replica,
                manifest_sha256=manifest.sha256,
                commit=keys.INITIAL,
            )


def _check(results: list[Result]) -> None:
    failed = [result for result in results if result.outcome.failed]
    if not failed:
        return
    # Peers of the worker that failed say only that they were told to stop.
    first = next((result for result in failed if b"GangAborted" not in result.outcome.body), failed[0])
    try:
        message = str(json.loads(first.outcome.body)["errorMessage"])
    except (ValueError, KeyError):
        message = first.outcome.body.decode(errors="replace")
    log = "\n".join(f"  | {line}" for line in first.log[-12:])
    raise FuncpipeError(f"{len(failed)} of {len(results)} workers failed: {message}\n{log}")
