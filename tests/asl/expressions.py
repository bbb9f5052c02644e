"""Reference paths, payload templates, intrinsic functions and choice rules of the Amazon States Language: those used.

States Language specification, "Paths", "Payload Template", "Intrinsic Functions", "Choice State"
(states-language.net/spec.html); MathRandom excludes its second number, as AWS says
(docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html). Read 2026-11-24.
"""

import json
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

_TOKEN = re.compile(r"\s*(States\.\w+\(|'(?:\\.|[^'\\])*'|\$\$?(?:\.\w+)*|-?\d+(?:\.\d+)?|[,)])")


class StatesError(Exception):
    """An error by its name, as Retry and Catch see it."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error, self.cause = error, cause


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Scope:
    """What expressions of one state see: its data, the context object, and a source of random numbers."""

    def __init__(self, data: Any, context: dict[str, Any], chance: random.Random) -> None:
        self.data, self.context, self.chance = data, context, chance

    def path(self, text: str) -> Any:
        found = self.context if text.startswith("$$") else self.data
        for name in text.split(".")[1:]:
            if not isinstance(found, dict) or name not in found:
                raise StatesError("States.Runtime", f"the path {text!r} is not in {json.dumps(self.data)[:400]}")
            found = found[name]
        return found

    def has(self, text: str) -> bool:
        try:
            self.path(text)
        except StatesError:
            return False
        return True

    def template(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.template(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key.removesuffix(".$"): self.expression(item) if key.endswith(".$") else self.template(item)
            for key, item in value.items()
        }

    def expression(self, text: str) -> Any:
        tokens = _tokens(text)
        value = self._value(tokens)
        assert not tokens, f"more than one expression: {text}"
        return value

    def _value(self, tokens: list[str]) -> Any:
        token = tokens.pop(0)
        if token.startswith("$"):
            return self.path(token)
        if token.startswith("'"):
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        if not token.startswith("States."):
            return json.loads(token)
        arguments = []
        while tokens[0] != ")":
            arguments.append(self._value(tokens))
            if tokens[0] == ",":
                tokens.pop(0)
        tokens.pop(0)
        try:
            return _FUNCTIONS[token[:-1]](self.chance, *arguments)
        except (IndexError, TypeError, ValueError) as error:
            raise StatesError("States.IntrinsicFailure", f"{token}...): {error}") from None


def _tokens(text: str) -> list[str]:
    tokens, end = [], 0
    while end < len(text):
        match = _TOKEN.match(text, end)
        assert match is not None, f"not understood: {text[end:]!r} in {text!r}"
        tokens.append(match[1])
        end = match.end()
    return tokens


def _format(_chance: random.Random, text: str, *values: Any) -> str:
    parts = text.split("{}")
    if len(parts) != len(values) + 1:
        raise ValueError(f"{len(values)} values for {text!r}")
    return "".join(
        part + (value if isinstance(value, str) else json.dumps(value))
        for part, value in zip(parts, [*values, ""], strict=True)
    )


def _array_range(_chance: random.Random, first: int, last: int, step: int) -> list[int]:
    values = list(range(first, last + 1, step))
    if len(values) > 1000:
        raise ValueError("more than 1,000 items")
    return values


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "States.Array": lambda _chance, *values: list(values),
    "States.ArrayGetItem": lambda _chance, array, index: array[index],
    "States.ArrayRange": _array_range,
    "States.Format": _format,
    "States.MathAdd": lambda _chance, a, b: a + b,
    "States.MathRandom": lambda chance, first, end: chance.randrange(first, end),
    "States.StringToJson": lambda _chance, text: json.loads(text),
}


def holds(rule: dict[str, Any], scope: Scope) -> bool:
    """A rule of a Choice. A path that is not there is an error, but for IsPresent; And stops at what does not hold."""
    if "And" in rule:
        return all(holds(part, scope) for part in rule["And"])
    (operator,) = rule.keys() - {"Variable", "Next", "Comment"}
    if operator == "IsPresent":
        return scope.has(rule["Variable"]) is rule[operator]
    value, wanted = scope.path(rule["Variable"]), rule[operator]
    match operator:
        case "StringEquals":
            return isinstance(value, str) and value == wanted
        case "BooleanEquals":
            return isinstance(value, bool) and value == wanted
        case "NumericLessThan":
            return _is_number(value) and value < wanted
        case "NumericGreaterThanEquals":
            return _is_number(value) and value >= wanted
    raise AssertionError(f"not understood: {operator}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
