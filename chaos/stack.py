"""The deployed stack of a plan on the embedded AWS, and runs on it; also after the emulator was killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launch.deployment import (
    Deployment,
    describe_execution,
    find_deployment,
    stage_functions,
    start_execution,
)
from launch.following import Ending
from launch.registry import Registry, RunEntry
from launch.resuming import OldRun
from launch.run_records import RunRecords
from launch.staging import source_folder, stage_run
from launch.stopping import stop_run
from localaws import control
from localaws.state import Emulator
from localaws.variables import with_emulator
from runtime.errors import FuncpipeError, UserInputError
from runtime.manifest import Manifest, load_manifest
from runtime.store import Store
from runtime.store_urls import open_reliable_store

POLL_S = 0.2
_LOST = Ending(succeeded=False, message="its execution is gone")


@dataclass(frozen=True)
class Plan:
    """What is run, and where from."""

    path: Path
    manifest: Manifest
    stack: str | None


class Stack:
    """Starts runs of one plan, one at a time. To be used within ``connected``."""

    def __init__(self, project: Path, plan: Plan, emulator: Emulator) -> None:
        self.project, self.plan, self.emulator = project, plan, emulator
        self.registry = Registry(project)
        self._find()

    def _find(self) -> None:
        plan = self.plan
        self.deployment: Deployment = find_deployment(plan.manifest, str(plan.path), plan.stack, embedded=True)
        found = stage_functions(self.deployment.stack)
        self.function_list = found
        self.functions = {function.stage: function.name for function in found}

    @property
    def store(self) -> Store:
        return open_reliable_store(self.deployment.artifacts_url)

    def stage(self, run: str, resume: OldRun | None = None) -> RunEntry:
        """Puts what the run needs into its store; ``start`` then begins it."""
        plan, deployment = self.plan, self.deployment
        entry = RunEntry(
            run=run,
            kind="aws",
            artifacts_url=deployment.artifacts_url,
            manifest_path=str(plan.path.resolve()),
            manifest_sha256=plan.manifest.sha256,
            started_at=time.time(),
            embedded=True,
            stack=deployment.stack,
            state_machine_arn=deployment.state_machine_arn,
            execution_arn=deployment.execution_arn(run),
            region=deployment.region,
        )
        stage_run(plan.manifest, source_folder(plan.manifest, plan.path), run, self.store, resume)
        return entry

    def start(self, entry: RunEntry) -> None:
        self.registry.add(entry)
        start_execution(self.deployment, entry.run)

    def await_end(self, entry: RunEntry, limit_s: float) -> Ending | None:
        """How the run ended; None when it did not within ``limit_s``, and has been stopped then."""
        assert entry.execution_arn is not None
        give_up = time.monotonic() + limit_s
        while time.monotonic() < give_up:
            if (ending := self.ending(entry)) is not None:
                return ending
            time.sleep(POLL_S)
        stop_run(RunRecords(self.store, entry.run), entry.execution_arn)
        return None

    def ending(self, entry: RunEntry) -> Ending | None:
        assert entry.execution_arn is not None
        state = describe_execution(entry.execution_arn)
        return _LOST if state is None else state.ending()

    def restart(self) -> None:
        """Kills the emulator, starts it again and deploys the plan anew. Raises FuncpipeError when that fails."""
        try:
            self.emulator = control.restart(self.project)
        except control.EmulatorError as error:
            raise FuncpipeError(str(error)) from None
        self.deploy()

    def deploy(self) -> None:
        """``cdk deploy`` of the plan. Raises FuncpipeError with the command's words when it fails."""
        command = [str(control.HOME / "node_modules" / ".bin" / "cdk"), "deploy", "--ci", "--require-approval", "never"]
        command += ["-c", f"manifest={self.plan.path.resolve()}", "-c", "packaging=zip"]
        command += ["--output", str(self.project.resolve() / ".funcpipe" / "chaos" / "cdk.out")]
        command += ["-c", f"stack={self.plan.stack}"] if self.plan.stack else []
        environment = dict(os.environ)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
        done = subprocess.run(
            command,
            cwd=control.HOME,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise FuncpipeError(f"`cdk deploy` failed with exit status {done.returncode}:\n{done.stdout}{done.stderr}")
        self._find()


@contextmanager
def connected(project: Path, path: Path, stack: str | None) -> Iterator[Stack]:
    """The stack of the manifest in ``path``; the block talks to the project's emulator.

    Raises:
        UserInputError: the emulator does not run, or the plan is not deployed on it.
    """
    manifest = load_manifest(path)
    emulator = control.status(project)
    if emulator is None:
        raise UserInputError(
            f"The local emulator is not running (project folder: {project}). Start it with `funcpipe local up`."
        )
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(with_emulator(before, emulator.environment))
    try:
        yield Stack(project, Plan(path, manifest, stack), emulator)
    finally:
        os.environ.clear()
        os.environ.update(before)
