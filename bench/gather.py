"""The same function in several processes at once, and what they return: workers, ranks or clients of a bench."""

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from launch.worker_context import worker_context
from runtime.errors import FuncpipeError

GRACE_S = 2.0
"""When one process has failed, how long the others may take to say why they have too."""


def gather(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """``function(*each)`` for each of ``arguments``, each in a process of its own; their answers, in that order.

    No process is left, however this ends.

    Raises:
        FuncpipeError: some have failed; the message is theirs.
    """
    processes, connections = [], []
    try:
        for each in arguments:
            receiving, sending = worker_context().Pipe(duplex=False)
            process = worker_context().Process(target=_body, args=(sending, function, each), daemon=True)
            process.start()
            sending.close()
            processes.append(process)
            connections.append(receiving)
        answers = _answers(connections)
        for process in processes:
            process.join()
        return answers
    finally:
        for process in processes:
            process.kill()
            process.join()
        for connection in connections:
            connection.close()


def _body(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer, failure = function(*arguments), None
    except BaseException as error:  # as text: not every exception can be sent
        expected = isinstance(error, (FuncpipeError, AssertionError))
        answer, failure = None, str(error) if expected else f"{type(error).__name__}: {error}"
    connection.send((answer, failure))


def _answers(connections: list[Connection]) -> list[Any]:
    answers: dict[Any, Any] = {}
    failures: list[str] = []
    left = set(connections)
    while left and (ready := wait(left, timeout=GRACE_S if failures else None)):
        for connection in ready:
            left.discard(connection)  # type: ignore[arg-type]
            try:
                answers[connection], failure = connection.recv()  # type: ignore[union-attr]
            except EOFError:
                failure = "a process ended without a word"
            if failure is not None:
                failures.append(failure)
    if failures:
        raise FuncpipeError("; ".join(failures))
    return [answers[connection] for connection in connections]
