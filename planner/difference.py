"""What differs between two manifests: the changed keys, and by how much the predictions differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runtime.manifest import Manifest

_FIGURES = ("iteration_s", "total_s", "usd_per_iteration", "usd_total")


@dataclass(frozen=True)
class Change:
    """One key's values; None where a manifest does not have it (it has fewer stages)."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Difference:
    """From one manifest to another."""

    changes: tuple[Change, ...]
    """In the manifest's order, predictions and hashes left out."""
    ratios: dict[str, float | None]
    """Predicted figures, after over before; None where before is 0."""
    same_inputs: dict[str, bool]
    """job, profile, source: whether both were made from the same."""


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{key}.{index}")
    else:
        yield key, value


def _plan(manifest: Manifest) -> dict[str, Any]:
    """By key, all that is chosen or asked for."""
    document = manifest.model_dump(mode="json", exclude={"predicted": True, "hashes": True})
    for stage in document["stages"]:
        del stage["predicted"], stage["modules"]  # the layers' numbers say the latter
    return dict(_leaves(document))


def difference(before: Manifest, after: Manifest) -> Difference:
    """See ``Difference``."""
    old, new = _plan(before), _plan(after)
    keys = [*old, *(key for key in new if key not in old)]
    changes = [Change(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
    ratios = {}
    for name in _FIGURES:
        was, now = getattr(before.predicted, name), getattr(after.predicted, name)
        ratios[name] = now / was if was else None
    inputs = {
        name: getattr(before.hashes, name) == getattr(after.hashes, name) for name in ("job", "profile", "source")
    }
    return Difference(tuple(changes), ratios, inputs)
