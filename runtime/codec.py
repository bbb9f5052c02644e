"""An ordered set of named tensors, numbers and Nones as one safetensors object.

Tensors travel as safetensors; what is not a tensor, and the order of all names, stands in the header's metadata as
JSON. Nothing received is ever executed or unpickled.
"""

import json
from typing import Any

import safetensors.torch
import torch

Scalar = bool | int | float | str | None
Bundle = dict[str, torch.Tensor | Scalar]
_KEY = "funcpipe"


class MalformedObject(ValueError):
    """Bytes that are not what ``encode`` makes."""


def encode(bundle: Bundle) -> bytes:
    """``bundle`` as bytes, order kept. Tensors are taken as they are at this moment (copied)."""
    tensors = {name: value.detach().contiguous() for name, value in bundle.items() if isinstance(value, torch.Tensor)}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.untyped_storage().data_ptr() in seen:  # safetensors refuses two names for one storage
            tensors[name] = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
    entries = [[name, "tensor" if name in tensors else {"value": value}] for name, value in bundle.items()]
    return safetensors.torch.save(tensors, metadata={_KEY: json.dumps(entries)})


def decode(data: bytes) -> Bundle:
    """The bundle that was encoded; its tensors own their memory.

    Raises:
        MalformedObject: the bytes are truncated or not of this format.
    """
    try:
        header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        entries = json.loads(header["__metadata__"][_KEY])
        tensors = safetensors.torch.load(data)
        return {name: tensors[name] if kind == "tensor" else kind["value"] for name, kind in entries}
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise MalformedObject(f"an object of {len(data)} bytes is not one of ours: {error}") from None


def pack(value: Any) -> Bundle:
    """What a layer returned, as named leaves and the shape of their nesting.

    ``value`` is a tensor, a number, None, or a tuple, list or dict (with string keys) of such.

    Raises:
        TypeError: anything else.
    """
    leaves: Bundle = {}

    def describe(part: Any, name: str) -> Any:
        if isinstance(part, tuple | list):
            kind = "tuple" if isinstance(part, tuple) else "list"
            return {kind: [describe(item, f"{name}.{index}") for index, item in enumerate(part)]}
        if isinstance(part, dict):
            return {"dict": [[key, describe(item, f"{name}.{key}")] for key, item in part.items()]}
        if part is not None and not isinstance(part, torch.Tensor | bool | int | float | str):
            raise TypeError(f"a {type(part).__name__} cannot cross a stage boundary: tensors, numbers and None can")
        leaves[name] = part
        return name

    structure = describe(value, "x")
    return {"structure": json.dumps(structure), **leaves}


def unpack(bundle: Bundle) -> Any:
    """The value that was packed."""

    def rebuild(node: Any) -> Any:
        if isinstance(node, str):
            return bundle[node]
        if "dict" in node:
            return {key: rebuild(item) for key, item in node["dict"]}
        items = [rebuild(item) for item in node.get("tuple", node.get("list"))]
        return tuple(items) if "tuple" in node else items

    return rebuild(json.loads(str(bundle["structure"])))
