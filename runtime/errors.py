"""Failures that a person is told about without a traceback, and the one that a worker ends with."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.records import Failure


class FuncpipeError(Exception):
    """Something failed that is neither a bug nor the user's input: exit status 1.

    The message says what was wrong, the values involved, and the next step.
    """


class UserInputError(FuncpipeError):
    """The user's input (a file, an option, a name) cannot be used: exit status 2."""


class WorkerFailed(Exception):
    """A worker stopped before its segment's end and has left its records; the message is for the workflow's history.

    The workflow knows it by its name: a function that ends in any other way has left no record.
    ``failure`` is that record.
    """

    def __init__(self, message: str, failure: "Failure | None" = None) -> None:
        super().__init__(message)
        self.failure = failure
