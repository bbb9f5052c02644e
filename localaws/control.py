"""Starts, finds and ends the emulator of a project folder. Standard library only.

The emulator is a detached process of its own session: it outlives the command that started it, and Ctrl-C in a
terminal does not reach it. Commands that start or end it take turns by a lock on the project's state folder.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from localaws import processes
from localaws.state import Emulator, StateFolder
from localaws.variables import ACCOUNT, REGION, with_emulator

HOME = Path(__file__).resolve().parent.parent
"""The checkout: set-up made the emulator's environment and the CDK command there."""

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
BOOTSTRAP_TIMEOUT_S = 300.0
_POLL_S = 0.05
_PORT_TRIES = 3


class EmulatorError(Exception):
    """The emulator could not be started, or is not there; the message names the next step."""


def state_folder(project: Path) -> StateFolder:
    return StateFolder(project.resolve() / ".funcpipe" / "local")


def status(project: Path) -> Emulator | None:
    """The project's running emulator, or None. A record of one that has died is cleared away."""
    folder = state_folder(project)
    emulator = folder.load()
    if emulator is None or emulator.alive:
        return emulator
    with _locked(folder):
        emulator = folder.load()
        if emulator is not None and not emulator.alive:
            _clear(folder)
            return None
    return emulator


def up(
    project: Path, *, bootstrap: bool = True, keep: bool = False, port: int | None = None, bound: bool = False
) -> tuple[Emulator, bool]:
    """Starts the project's emulator and prepares it for ``cdk deploy``.

    Args:
        bootstrap: False leaves that preparation out, for projects in which nothing will be deployed.
        keep: S3's objects are kept on disk, and those of an emulator that was started so and has died are there again.
            All else (stacks, functions, executions, logs) an emulator forgets when it ends, in any case.
        port: by default a free one.
        bound: it is to end when this process does, even if that is killed.

    Returns:
        The emulator, and whether this call started it (False: it was running).

    Raises:
        EmulatorError: set-up is missing, or the emulator or ``cdk bootstrap`` failed; nothing is left running.
    """
    folder = state_folder(project)
    folder.path.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        running = folder.load()
        if running is not None and running.alive:
            return running, False
        _clear(folder)
        emulator = _start(folder, keep, port, bound)
        try:
            if bootstrap:
                _bootstrap(emulator)
        except BaseException:
            _end(folder, emulator)
            raise
    return emulator, True


def down(project: Path) -> Emulator | None:
    """Ends the project's emulator, and its functions with it; returns it, or None when none was running."""
    folder = state_folder(project)
    if not folder.path.is_dir():
        return None
    with _locked(folder):
        emulator = folder.load()
        was_alive = emulator is not None and emulator.alive
        if emulator is not None and was_alive:
            _end(folder, emulator)
        else:
            _clear(folder)
        shutil.rmtree(folder.objects, ignore_errors=True)
    return emulator if was_alive else None


def restart(project: Path) -> Emulator:
    """Kills the project's emulator, as a crash would, and starts it again at the same address; what is kept is there.

    Raises:
        EmulatorError: it was not running, or does not start again.
    """
    emulator = status(project)
    if emulator is None:
        raise EmulatorError(f"The local emulator is not running (project folder: {project}).")
    os.kill(emulator.pid, signal.SIGKILL)
    while _running(emulator):
        time.sleep(_POLL_S)
    return up(project, keep=emulator.keeps, port=emulator.port, bound=emulator.bound)[0]


@contextmanager
def _locked(folder: StateFolder) -> Iterator[None]:
    folder.path.mkdir(parents=True, exist_ok=True)
    with open(folder.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(folder: StateFolder, keep: bool, port: int | None, bound: bool) -> Emulator:
    for attempt in range(_PORT_TRIES):
        emulator = _spawn(folder, port or _free_port(), keep, bound)
        try:
            if _await_health(emulator):
                return emulator
        except BaseException:
            _end(folder, emulator)
            raise
        log = _tail(folder.log)
        _end(folder, emulator)
        # Another process can take a free port before the emulator does.
        if "already in use" not in log or port is not None or attempt == _PORT_TRIES - 1:
            raise EmulatorError(f"The emulator did not start. The end of {folder.log}:\n{log}")
    raise AssertionError("the last attempt returns or raises")


def _spawn(folder: StateFolder, port: int, keep: bool, bound: bool) -> Emulator:
    python = HOME / ".venv-emulator" / "bin" / "python"
    if not python.exists():
        raise EmulatorError(f"{python} does not exist. Run `make setup` in {HOME}.")
    functions = HOME / ".venv" / "bin" / "python"
    folder.files.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "localaws.server", "--port", str(port), "--folder", str(folder.files)]
    command += ["--function-python", str(functions if functions.exists() else sys.executable)]
    if keep:
        command += ["--objects", str(folder.objects)]
        # The bootstrap stack is forgotten with all others, and would not be made again beside its bucket.
        for assets in folder.objects.glob("*/cdk-*-assets-*"):
            shutil.rmtree(assets)
    if bound:
        command += ["--owner", str(os.getpid()), processes.start_time(os.getpid()) or ""]
    with open(folder.log, "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder.files,
            env=_server_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = processes.start_time(process.pid)
    emulator = Emulator(process.pid, started or "", port, str(folder.files), str(folder.log), keep, bound)
    # Before anything can interrupt us: what is recorded can be ended by `down`.
    folder.save(emulator)
    return emulator


def _server_environment() -> dict[str, str]:
    # The emulator has an account of its own: the user's settings and proxies are no business of it.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": str(HOME), "PYTHONUNBUFFERED": "1", "NODE_PATH": str(HOME / "node_modules")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_health(emulator: Emulator) -> bool:
    """Whether the emulator answers; False when it has ended, or the time is up."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and _running(emulator):
        try:
            with opener.open(f"{emulator.endpoint}/_ministack/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    return False


def _running(emulator: Emulator) -> bool:
    """As ``Emulator.alive``; our own child is reaped when it has ended."""
    with suppress(ChildProcessError):  # started by another command
        os.waitpid(emulator.pid, os.WNOHANG)
    return emulator.alive


def _bootstrap(emulator: Emulator) -> None:
    cdk = HOME / "node_modules" / ".bin" / "cdk"
    if not cdk.exists():
        raise EmulatorError(f"{cdk} does not exist. Run `make setup` in {HOME}.")
    with open(emulator.log, "ab") as log:
        try:
            done = subprocess.run(
                [str(cdk), "bootstrap", f"aws://{ACCOUNT}/{REGION}", "--ci", "--no-color"],
                cwd=emulator.folder,
                env=with_emulator(os.environ, emulator.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=BOOTSTRAP_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EmulatorError(
                f"`cdk bootstrap` did not end within {BOOTSTRAP_TIMEOUT_S:.0f} s. "
                f"The end of {emulator.log}:\n{_tail(Path(emulator.log))}"
            ) from None
    if done.returncode != 0:
        raise EmulatorError(
            f"`cdk bootstrap` failed with exit status {done.returncode}. "
            f"The end of {emulator.log}:\n{_tail(Path(emulator.log))}"
        )


def _end(folder: StateFolder, emulator: Emulator) -> None:
    """Ends exactly the recorded process; its guardian ends the functions if it cannot do so itself."""
    for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        if not _running(emulator):
            break
        try:
            os.kill(emulator.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience_s
        while _running(emulator) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    _clear(folder)


def _clear(folder: StateFolder) -> None:
    folder.forget()
    shutil.rmtree(folder.files, ignore_errors=True)


def _tail(log: Path, lines: int = 20) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return "  (no log)"
    return "\n".join("  | " + line for line in text.splitlines()[-lines:]) or "  (empty)"
