"""``funcpipe profile --on aws``: a stack of one function per memory size, all asked at once, deleted whatever comes.

source + planner's modules + micro-batch ─► cdk deploy ─► invoke each function ─► columns of the profile
                                                 │
                     Ctrl-C, failure or success ─┴─► stack deleted
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import WaiterError
from pydantic import ValidationError

import planner
from launch.session import aws_errors, client
from planner.job import Job
from planner.pass_times import Column
from planner.profile_function import MicroBatch, Task, write_measurement
from runtime.errors import FuncpipeError, UserInputError
from runtime.limits import LAMBDA_MAX_TIMEOUT_S
from runtime.source import source_files

HOME = Path(__file__).resolve().parent.parent
PACKAGE = "_funcpipe"
"""Folder in the shipped source."""
ENTRY = """\
\"\"\"Entry of the measuring function: finds this package's modules, which lie beside it.\"\"\"

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from planner.profile_function import handler  # noqa: E402, F401
"""
HANDLER = f"source.{PACKAGE}.entry.handler"


def stage_source(folder: Path, source: Path, job: Job, task: Task, largest: MicroBatch) -> None:
    """Fills ``folder`` with what the functions need besides ``runtime``.

    Raises:
        UserInputError: the source folder has a folder of the name that this takes.
    """
    if (source / PACKAGE).exists():
        raise UserInputError(f"{source / PACKAGE}: profiling on AWS needs this name. Rename it.")
    for path in source_files(source):
        copy = folder / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, copy)
    package = folder / PACKAGE
    modules = package / "planner"
    modules.mkdir(parents=True)
    for module in Path(planner.__path__[0]).glob("*.py"):
        shutil.copyfile(module, modules / module.name)
    (package / "entry.py").write_text(ENTRY)
    write_measurement(package / "measurement", job, task, largest)


def measure_on_aws(
    job: Job,
    source: Path,
    task: Task,
    largest: MicroBatch,
    *,
    memory_mb: Sequence[int],
    packaging: str,
    say: Callable[[str], None],
    at_once: int | None = None,
) -> tuple[list[int], list[Column]]:
    """Deploys, measures, tears down. Account and region come from the environment.

    Args:
        memory_mb: sizes to measure at.
        packaging: "image" or "zip", as for ``cdk deploy``.
        say: told what happens.
        at_once: functions that may measure at the same time; None: all.

    Raises:
        UserInputError: access to AWS is not set up, or a layer fails on the data.
        FuncpipeError: deploying or a function failed.
    """
    sizes = sorted(set(memory_mb))
    name = f"funcpipe-profile-{job.name}-{uuid4().hex[:8]}"
    with TemporaryDirectory(prefix="funcpipe-profile-") as temporary:
        folder = Path(temporary)
        stage_source(folder / "source", source, job, task, largest)
        with _torn_down(name, say):
            say(f"deploying stack {name}: {len(sizes)} functions of {', '.join(map(str, sizes))} MB ...")
            outputs = _deploy(name, folder, job, sizes, packaging)
            say("measuring ...")
            functions = [outputs[f"Memory{size}Name"] for size in sizes]
            sweeps = [size == sizes[0] for size in sizes]  # How times grow is measured with the fewest threads.
            with aws_errors(), ThreadPoolExecutor(at_once or len(sizes)) as pool:
                columns = list(pool.map(_ask, functions, sizes, sweeps))
    return sizes, columns


def _deploy(name: str, folder: Path, job: Job, sizes: Sequence[int], packaging: str) -> dict[str, str]:
    """The stack's outputs. Raises FuncpipeError with the command's last lines when it fails."""
    context = {
        "stack": name,
        "source": str(folder / "source"),
        "memory_mb": ",".join(map(str, sizes)),
        "handler": HANDLER,
        "requirements": json.dumps(job.package.requirements),
        "architecture": job.package.architecture.value,
        "packaging": packaging,
    }
    outputs = folder / "outputs.json"
    command = [str(HOME / "node_modules" / ".bin" / "cdk"), "deploy", "--ci", "--require-approval", "never"]
    command += ["--app", f"{sys.executable} -m infra.profiling_stack", "--output", str(folder / "cdk.out")]
    command += ["--outputs-file", str(outputs)]
    command += [part for key, value in context.items() for part in ("-c", f"{key}={value}")]
    try:
        # In a session of its own: Ctrl-C reaches this process alone, which then ends the command and what it made.
        process = subprocess.Popen(
            command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    except FileNotFoundError:
        raise UserInputError(f"{command[0]}: the CDK command is not there. Set it up with `make setup`.") from None
    try:
        printed, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        tail = "\n".join(printed.strip().splitlines()[-15:])
        raise FuncpipeError(f"cdk deploy of {name} failed (exit status: {process.returncode}):\n{tail}")
    found: dict[str, str] = json.loads(outputs.read_text())[name]
    return found


def _ask(function: str, memory_mb: int, sweeps: bool) -> Column:
    """One function's column. Raises FuncpipeError when it fails."""
    config = Config(read_timeout=LAMBDA_MAX_TIMEOUT_S + 30, retries={"total_max_attempts": 1})
    answer = boto3.client("lambda", config=config).invoke(
        FunctionName=function, Payload=json.dumps({"sweeps": sweeps}).encode()
    )
    document: Any = json.loads(answer["Payload"].read())
    if "FunctionError" in answer or not isinstance(document, dict):
        said = document.get("errorMessage") if isinstance(document, dict) else document
        raise FuncpipeError(
            f"the function of {memory_mb} MB failed: {said}. The model may need more memory: raise --memory-mb."
        )
    if "error" in document:
        raise UserInputError(f"on the function of {memory_mb} MB: {document['error']}")
    try:
        return Column.model_validate(document.get("column"))
    except ValidationError as error:
        raise FuncpipeError(f"the function of {memory_mb} MB answered what is no measurement: {error}") from None


@contextmanager
def _torn_down(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Deletes the stack at the end, whatever ends it; says so where that fails."""
    try:
        yield
    finally:
        say(f"deleting stack {name} ...")
        try:
            with aws_errors():
                cloudformation = client("cloudformation")
                cloudformation.delete_stack(StackName=name)
                cloudformation.get_waiter("stack_delete_complete").wait(
                    StackName=name, WaiterConfig={"Delay": 2, "MaxAttempts": 300}
                )
        except (FuncpipeError, WaiterError, KeyboardInterrupt) as error:
            say(
                f"stack {name} may still be there ({str(error) or 'interrupted'}). Delete it with "
                f"`aws cloudformation delete-stack --stack-name {name}`."
            )
