"""The execution environments of all functions: an idle one is reused, else a new one is made."""

import threading
from collections.abc import Callable

from localaws.execution_environment import ExecutionEnvironment, FunctionVersion, Host, Result
from localaws.runtime_api import MAX_PAYLOAD_BYTES, error_outcome


class Pool:
    """Safe to use from several threads. How many environments a function may have is its caller's to limit."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._idle: dict[FunctionVersion, list[ExecutionEnvironment]] = {}
        self._busy: set[ExecutionEnvironment] = set()

    def invoke(
        self,
        function: FunctionVersion,
        payload: bytes,
        request_id: str,
        taken: Callable[[], object] = lambda: None,
    ) -> Result:
        """Runs ``function`` on one event, in an environment of its own for that time.

        ``taken`` is called when it has one, before it runs.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            message = f"Request payload size ({len(payload)} bytes) exceeds the maximum of {MAX_PAYLOAD_BYTES} bytes."
            return Result(error_outcome("RequestTooLargeException", message), [])
        environment = self._take(function)
        try:
            taken()
            return environment.invoke(payload, request_id)
        finally:
            self._give_back(environment)

    def process(self, token: str) -> Callable[[int], None]:
        """Sends signals to the process of the busy environment that has ``token``; to nobody if there is none."""
        with self._lock:
            found = [environment for environment in self._busy if environment.token == token]
        return found[0].signal if found else lambda number: None

    def drop(self, belongs: Callable[[FunctionVersion], bool], *, busy: bool = True) -> None:
        """Ends the environments of the functions for which ``belongs`` is true; without ``busy`` only idle ones."""
        with self._lock:
            gone = [function for function in self._idle if belongs(function)]
            doomed = [environment for function in gone for environment in self._idle.pop(function)]
            if busy:
                doomed += [environment for environment in self._busy if belongs(environment.function)]
        for environment in doomed:
            environment.stop()

    def _take(self, function: FunctionVersion) -> ExecutionEnvironment:
        with self._lock:
            idle = self._idle.get(function, [])
            environment = None
            while idle and environment is None:
                candidate = idle.pop()
                environment = candidate if candidate.alive else None
            environment = environment or ExecutionEnvironment(function, self._host)
            self._busy.add(environment)
        return environment

    def _give_back(self, environment: ExecutionEnvironment) -> None:
        with self._lock:
            self._busy.discard(environment)
            if environment.alive:
                self._idle.setdefault(environment.function, []).append(environment)
                return
        environment.stop()
