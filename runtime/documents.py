"""What is wrong in a document that somebody else wrote, in words that a terminal can show."""

import math
import re
from collections import Counter
from typing import Any

from pydantic import ValidationError

_SHOWN_CHARACTERS = 300
_SHOWN_ERRORS = 20
_BRANCH = re.compile(r"(str-enum|constrained-str|function-)\W?.*|literal\[.*\]|bool")
_OPTIMIZERS = ("sgd", "adam", "adamw")


def _key(location: tuple[int | str, ...]) -> str:
    """The key at a place, without the names of the union's branches that pydantic tried there."""
    parts = [str(part) for part in location]
    named = [
        part
        for before, part in zip(["", *parts], parts, strict=False)
        if not _BRANCH.fullmatch(part) and not (before == "optimizer" and part in _OPTIMIZERS)
    ]
    return shown(".".join(named)) or "(whole file)"


def shown(text: str) -> str:
    """What a file says, fit for a terminal: control characters escaped, and not too long."""
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_SHOWN_CHARACTERS])
    return visible + ("…" if len(text) > _SHOWN_CHARACTERS else "")


def describe_errors(error: ValidationError, origin: str) -> str:
    """Pydantic's findings, the first ones, as lines 'origin: key: what is wrong (given: value)'."""
    lines = []
    found = error.errors()
    for item in found[:_SHOWN_ERRORS]:
        key = _key(item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        told = "" if isinstance(given, dict | list) or item["type"] == "missing" else f" (given: {given!r:.120})"
        lines.append(f"{origin}: {key}: {shown(message)}{told}")
    if len(found) > _SHOWN_ERRORS:
        lines.append(f"{origin}: and {len(found) - _SHOWN_ERRORS:,} more")
    return "\n".join(lines)


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """For ``json.loads``: raises ValueError where an object has a key twice."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        twice = next(key for key, times in Counter(keys).items() if times > 1)
        raise ValueError(f"the key '{shown(twice)}' is given twice")
    return dict(pairs)


def not_finite(value: Any, key: str = "") -> str | None:
    """The key of a number that is not finite, if there is one: JSON has none, so the plan could have no digest."""
    if isinstance(value, float) and not math.isfinite(value):
        return key
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((at for name, item in items if (at := not_finite(item, f"{key}.{name}" if key else f"{name}"))), None)
