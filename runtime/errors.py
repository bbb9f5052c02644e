"""The two kinds of failure that a person is told about without a traceback."""


class FuncpipeError(Exception):
    """Something failed that is neither a bug nor the user's input: exit status 1.

    The message says what was wrong, the values involved, and the next step.
    """


class UserInputError(FuncpipeError):
    """The user's input (a file, an option, a name) cannot be used: exit status 2."""
