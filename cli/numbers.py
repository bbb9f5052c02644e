"""Numbers among a command line's arguments."""

import math

from runtime.errors import UserInputError


def positive(option: str, text: str, example: str) -> float:
    """``text`` as a number above 0. Raises UserInputError, which names the option, when it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserInputError(f"{option} must be a positive number (given: {text}). For example: {option} {example}")
    return value
