"""One Lambda execution environment: an operating-system process that runs one function's handler, one event at a time.

The process is ``PYTHON -m awslambdaric HANDLER``, the runtime client that AWS ships, so handlers meet the real
start-up, context object and error format. Kept from Lambda: clean variables, a private temporary folder, time-out,
memory limit (resident memory of the process and its children), payload limit, reuse while warm, log lines.
Not kept: the 10 s limit of the init phase (the environments share this host's cores, so a cold gang takes longer here
than there; ``INIT_TIMEOUT_S`` applies), the CPU share below one vCPU, the size of the temporary folder, isolation.
"""

import math
import os
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from localaws.guardian import Guardian
from localaws.log_pipe import LogPipe
from localaws.processes import kill_group, peak_resident_bytes, resident_bytes, signal_group
from localaws.runtime_api import Invocation, Outcome, RuntimeApi, error_outcome

INIT_TIMEOUT_S = 120.0
WATCH_INTERVAL_S = 0.1
MEMORY_PER_VCPU_MB = 1_769
"""docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html, 2026-11-21."""

_HOST_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""They tell numerical libraries which processor this host has; nothing else of the host is passed on."""

_MIB = 1024 * 1024


@dataclass(frozen=True)
class FunctionVersion:
    """What an environment is made from; two equal versions may share environments."""

    name: str
    arn: str
    handler: str
    code: Path
    memory_mb: int
    timeout_s: float
    version: str = "$LATEST"
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Host:
    """Where environments run: the functions' Python, a folder for their temporary files, and who outlives us."""

    python: Path
    folder: Path
    guardian: Guardian


@dataclass(frozen=True)
class Result:
    """An invocation as its caller sees it; ``log`` is what Lambda writes to the log group."""

    outcome: Outcome
    log: list[str]


class ExecutionEnvironment:
    """Started by ``start``, used by one caller at a time, ended by ``stop`` or by what the function does."""

    def __init__(self, function: FunctionVersion, host: Host) -> None:
        self.function = function
        self.token = uuid4().hex
        """Session token of its credentials, as each environment has one of its own on Lambda, too."""
        self._host = host
        self._api = RuntimeApi()
        self._log = LogPipe()
        self._temporary = tempfile.mkdtemp(prefix="environment-", dir=host.folder)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._exited = threading.Event()
        self._out_of_memory = False
        self._peak_bytes = 0
        self._init_s: float | None = None
        self._request_id: str | None = None

    @property
    def alive(self) -> bool:
        """Whether it can take another event."""
        return self._process is not None and not self._stopped and not self._exited.is_set()

    def invoke(self, payload: bytes, request_id: str) -> Result:
        """Runs the handler on one event, starting the process if this is the environment's first."""
        failed_init = self._start(request_id) if self._process is None else None
        began = time.monotonic()
        log = [*self._log.take(), f"START RequestId: {request_id} Version: {self.function.version}"]
        outcome = failed_init or self._run(payload, request_id)
        duration_s = time.monotonic() - began
        log += self._log.take()
        status = ""
        if outcome is None:
            limit = f"Task timed out after {self.function.timeout_s:.2f} seconds"
            outcome = error_outcome("Sandbox.Timedout", f"RequestId: {request_id} Error: {limit}")
            log.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z {request_id} {limit}")
            status = "\tStatus: timeout"
            self.stop()
        elif failed_init is not None:
            status = f"\tStatus: error\tError Type: {outcome.error_type}"
            self.stop()
        elif outcome.failed and self._exited.is_set():
            log.append(f"RequestId: {request_id} Error: Runtime exited with error: {self._exit_reason()}")
            error_type = "Runtime.OutOfMemory" if self._out_of_memory else outcome.error_type
            status = f"\tStatus: error\tError Type: {error_type}"
        log += [f"END RequestId: {request_id}", self._report(request_id, duration_s) + status]
        self._init_s = None
        return Result(outcome, log)

    def signal(self, number: int) -> None:
        """Sends a signal to the process and its children."""
        if self._process is not None and not self._exited.is_set():
            signal_group(self._process.pid, number)

    def stop(self) -> None:
        """Ends the process and its children and removes its temporary folder. May be called again, by any thread."""
        with self._lock:
            self._stopped = True
            process = self._process
        self._log.close_writer()
        if process is not None and not self._exited.is_set():
            kill_group(process.pid)
            self._exited.wait()
        self._api.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _start(self, request_id: str) -> Outcome | None:
        """Starts the process and waits until it asks for work; the error, when it does not come to that."""
        began = time.monotonic()
        with self._lock:
            if self._stopped:
                return error_outcome("Runtime.ExitError", f"RequestId: {request_id} Error: the function was deleted")
            self._process = subprocess.Popen(
                [self._host.python, "-m", "awslambdaric", self.function.handler],
                cwd=self.function.code,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=self._log.writer,
                stderr=self._log.writer,
                start_new_session=True,
            )
        self._log.close_writer()
        self._host.guardian.watch(self._process.pid)
        threading.Thread(target=self._watch, daemon=True, name=f"watch-{self.function.name}").start()
        in_time = self._api.ready.wait(INIT_TIMEOUT_S)
        self._init_s = time.monotonic() - began
        if not in_time:
            return error_outcome("Sandbox.Timedout", f"Init timed out after {INIT_TIMEOUT_S:.2f} seconds")
        if self._api.init_error is not None:
            return self._api.init_error
        return self._exit_outcome(request_id) if self._exited.is_set() else None

    def _run(self, payload: bytes, request_id: str) -> Outcome | None:
        """The outcome of one event; None when the time is up."""
        self._request_id = request_id
        deadline = time.time() + self.function.timeout_s
        self._api.submit(Invocation(request_id, payload, self.function.arn, deadline))
        if self._exited.is_set():
            self._api.finish(self._exit_outcome(request_id))
        outcome = self._api.await_outcome(self.function.timeout_s)
        self._request_id = None
        if self._over_memory() and outcome is not None and not self._exited.is_set():
            # It was above the limit for less than the watch's interval; Lambda would have ended it then.
            self._end_for_memory()
            self._exited.wait()
            outcome = self._exit_outcome(request_id)
        return outcome

    def _environment(self) -> dict[str, str]:
        threads = str(min(math.ceil(self.function.memory_mb / MEMORY_PER_VCPU_MB), os.cpu_count() or 1))
        return {
            **{name: os.environ[name] for name in _HOST_VARIABLES if name in os.environ},
            "PATH": f"{self._host.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "HOME": self._temporary,
            "TMPDIR": self._temporary,
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.function.code),
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "AWS_EC2_METADATA_DISABLED": "true",
            **dict(self.function.variables),
            "AWS_SESSION_TOKEN": self.token,
            "_HANDLER": self.function.handler,
            "LAMBDA_TASK_ROOT": str(self.function.code),
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_FUNCTION_NAME": self.function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.function.memory_mb),
            "AWS_LAMBDA_FUNCTION_VERSION": self.function.version,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        }

    def _watch(self) -> None:
        assert self._process is not None
        pid = self._process.pid
        while True:
            if self._over_memory():
                self._end_for_memory()
            try:
                self._process.wait(WATCH_INTERVAL_S)
                break
            except subprocess.TimeoutExpired:
                continue
        kill_group(pid)  # children that it left behind
        self._host.guardian.forget(pid)
        self._exited.set()
        self._api.ready.set()
        if self._request_id is not None:
            self._api.finish(self._exit_outcome(self._request_id))

    def _over_memory(self) -> bool:
        """Notes the memory in use, and says whether it ever exceeded the limit."""
        assert self._process is not None
        pid = self._process.pid
        self._peak_bytes = max(self._peak_bytes, resident_bytes(pid), peak_resident_bytes(pid))
        return self._peak_bytes > self.function.memory_mb * _MIB

    def _end_for_memory(self) -> None:
        assert self._process is not None
        self._out_of_memory = True
        kill_group(self._process.pid)

    def _exit_reason(self) -> str:
        code = self._process.poll() if self._process is not None else None
        return "signal: killed" if code is not None and code < 0 else f"exit status {code}"

    def _exit_outcome(self, request_id: str) -> Outcome:
        message = f"RequestId: {request_id} Error: Runtime exited with error: {self._exit_reason()}"
        return error_outcome("Runtime.ExitError", message)

    def _report(self, request_id: str, duration_s: float) -> str:
        """Billed Duration includes the init phase, as Lambda bills it since 2025-08-01 for every packaging."""
        billed_ms = math.ceil((duration_s + (self._init_s or 0.0)) * 1000)
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_s * 1000:.2f} ms",
            f"Billed Duration: {billed_ms} ms",
            f"Memory Size: {self.function.memory_mb} MB",
            f"Max Memory Used: {math.ceil(self._peak_bytes / _MIB)} MB",
        ]
        if self._init_s is not None:
            fields.append(f"Init Duration: {self._init_s * 1000:.2f} ms")
        return "\t".join(fields)
