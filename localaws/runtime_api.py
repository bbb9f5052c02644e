"""The Lambda Runtime API of one execution environment, served on loopback.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, version 2018-06-01. The function's process is the
client (``awslambdaric``):

    GET  /runtime/invocation/next                 blocks until there is an event
    POST /runtime/invocation/REQUEST-ID/response  the handler returned
    POST /runtime/invocation/REQUEST-ID/error     the handler raised
    POST /runtime/init/error                      the handler could not be imported
"""

import json
import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_PAYLOAD_BYTES = 6_291_556
"""Of a synchronous request or response; docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, 2026-11-21."""

_PREFIX = "/2018-06-01/runtime/"


@dataclass(frozen=True)
class Invocation:
    """An event for the function; ``deadline`` is Unix time in seconds."""

    request_id: str
    payload: bytes
    function_arn: str
    deadline: float


@dataclass(frozen=True)
class Outcome:
    """What became of an invocation: the handler's answer, or an error as JSON with errorType and errorMessage."""

    body: bytes
    failed: bool = False

    @property
    def error_type(self) -> str:
        """Of a failed one; a handler's own error may be of any shape."""
        try:
            return str(json.loads(self.body)["errorType"])
        except (ValueError, KeyError, TypeError):
            return "Unhandled"


def error_outcome(error_type: str, message: str) -> Outcome:
    return Outcome(json.dumps({"errorType": error_type, "errorMessage": message}).encode(), failed=True)


class RuntimeApi:
    """Serves one function process. ``ready`` is set when the process first asks for work, or reports that it cannot."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.init_error: Outcome | None = None
        self._events: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._awaited: str | None = None
        self._outcome: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._server = _Server(self)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True, name="runtime-api").start()

    def submit(self, invocation: Invocation) -> None:
        with self._lock:
            self._awaited = invocation.request_id
        self._events.put(invocation)

    def await_outcome(self, timeout_s: float) -> Outcome | None:
        """The outcome of the submitted invocation, or None when it has not come within ``timeout_s``."""
        try:
            return self._outcome.get(timeout=timeout_s)
        except queue.Empty:
            with self._lock:
                self._awaited = None
            return None

    def finish(self, outcome: Outcome, request_id: str | None = None) -> bool:
        """Settles the awaited invocation, once; an answer to any other is dropped. True when it was awaited."""
        with self._lock:
            if self._awaited is None or request_id not in (None, self._awaited):
                return False
            self._awaited = None
        self._outcome.put(outcome)
        return True

    def fail_init(self, outcome: Outcome) -> None:
        self.init_error = outcome
        self.ready.set()

    def next_event(self) -> Invocation | None:
        self.ready.set()
        return self._events.get()

    def close(self) -> None:
        """Ends the server; a process that waits for an event finds its connection closed. May be called again."""
        self._events.put(None)
        # The server looks for its end every half second: not worth waiting for.
        threading.Thread(target=self._shut_down, daemon=True, name="runtime-api-end").start()

    def _shut_down(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that a killed process left half-way is no news: its exit is reported elsewhere."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without both, each message waits 40 ms for a delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: the functions' own log is what matters."""

    def do_GET(self) -> None:
        if self.path != f"{_PREFIX}invocation/next":
            self._answer(404)
            return
        event = self.server.api.next_event()
        if event is None:
            self.close_connection = True
            return
        self._answer(
            200,
            event.payload,
            {
                "Lambda-Runtime-Aws-Request-Id": event.request_id,
                "Lambda-Runtime-Deadline-Ms": str(int(event.deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": event.function_arn,
                "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
            },
        )

    def do_POST(self) -> None:
        body = self._body()
        api, words = self.server.api, self.path.removeprefix(_PREFIX).split("/")
        if words == ["init", "error"]:
            api.fail_init(Outcome(body, failed=True))
        elif len(words) == 3 and words[0] == "invocation" and words[2] == "response":
            api.finish(_capped(body), words[1])
        elif len(words) == 3 and words[0] == "invocation" and words[2] == "error":
            api.finish(Outcome(body, failed=True), words[1])
        else:
            self._answer(404)
            return
        self._answer(202)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, status: int, body: bytes = b"{}", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _capped(body: bytes) -> Outcome:
    if len(body) <= MAX_PAYLOAD_BYTES:
        return Outcome(body)
    return error_outcome(
        "Function.ResponseSizeTooLarge",
        f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).",
    )
