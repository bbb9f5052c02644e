"""The deployed stack of a plan on the embedded AWS, and runs on it; also after the emulator was killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
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
from localaws import arming, control
from localaws.arming import Struck
from localaws.faults import Rule
from localaws.state import Emulator
from runtime.errors import FuncpipeError
from runtime.manifest import Manifest
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
    """Starts runs of one plan, one at a time. AWS's environment variables are the emulator's."""

    def __init__(self, project: Path, plan: Plan, emulator: Emulator) -> None:
        """Raises UserInputError when the plan is not deployed."""
        self.project, self.plan, self.emulator = project, plan, emulator
        self.registry = Registry(project)
        self._find()

    def _find(self) -> None:
        plan = self.plan
        self.deployment: Deployment = find_deployment(plan.manifest, str(plan.path), plan.stack, embedded=True)
        self.functions = stage_functions(self.deployment.stack)

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

    @contextmanager
    def started(self, entry: RunEntry) -> Iterator[None]:
        """The run is started before the block; when that does not end well, no run and no fault goes on."""
        self.registry.add(entry)
        start_execution(self.deployment, entry.run)
        try:
            yield
        except BaseException:
            self.stop(entry)
            self.arm([])
            raise

    def await_end(self, entry: RunEntry, limit_s: float) -> Ending | None:
        """How the run ended; None when it did not within ``limit_s``, and has been stopped then."""
        give_up = time.monotonic() + limit_s
        while time.monotonic() < give_up:
            if (ending := self.ending(entry)) is not None:
                return ending
            time.sleep(POLL_S)
        self.stop(entry)
        return None

    def stop(self, entry: RunEntry) -> None:
        stop_run(RunRecords(self.store, entry.run), entry.execution_arn)

    def arm(self, rules: Sequence[Rule]) -> None:
        """Puts these rules in force, and no others. Raises FuncpipeError when the emulator does not answer."""
        with _answering():
            arming.arm(self.emulator, rules)

    def struck(self) -> Struck:
        """What has happened since. Raises FuncpipeError when the emulator does not answer."""
        with _answering():
            return arming.struck(self.emulator)

    def ending(self, entry: RunEntry) -> Ending | None:
        """How the run ended; None while it goes on."""
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
def _answering() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FuncpipeError(f"the emulator does not answer: {error}. See `funcpipe local status`.") from error
