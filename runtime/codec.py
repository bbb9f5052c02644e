"""An ordered set of named tensors, numbers and Nones as one safetensors object.

Tensors travel as safetensors; what is not a tensor, and the order of all names, stands in the header's metadata as
JSON. Nothing received is ever executed or unpickled. Written here rather than by the library of that name because it
copies a payload three times on its way out; here it is copied once, and on its way in not at all.

    8 bytes: length of the header │ header: JSON, padded with spaces │ tensors, the widest elements first

A tensor may travel in a narrower element type than its own; whoever decodes it gets it in its own again.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

Scalar = bool | int | float | str | None
Bundle = dict[str, torch.Tensor | Scalar]
Outgoing = Mapping[str, "torch.Tensor | Narrowed | Scalar"]
_KEY = "funcpipe"
_ALIGNMENT = 8
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_NAMED = {name: dtype for dtype, name in _DTYPES.items()}


@dataclass(frozen=True)
class Narrowed:
    """A tensor that travels as elements of ``dtype``: rounded once, straight into the object's bytes."""

    tensor: torch.Tensor
    dtype: torch.dtype


def narrowed(value: torch.Tensor | Scalar, dtype: torch.dtype | None) -> torch.Tensor | Narrowed | Scalar:
    """``value`` to travel as ``dtype`` where it is a tensor of a wider real floating type; else as it is."""
    if dtype is None or not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    return Narrowed(value, dtype) if dtype.itemsize < value.element_size() else value


class MalformedObject(ValueError):
    """Bytes that are not what ``encode`` makes."""


def _place(buffer: bytearray, dtype: torch.dtype, shape: list[int], begin: int) -> torch.Tensor:
    """A tensor that lies in ``buffer`` from ``begin`` on. Raises ValueError where the buffer is too short."""
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=torch.uint8, count=size, offset=begin).view(dtype).view(shape)


@dataclass(frozen=True)
class _Plan:
    """What an encoded bundle begins with, what lies behind that where, and how long it is in all."""

    head: bytes
    placed: list[tuple[torch.Tensor, torch.dtype, int]]
    size: int


def _planned(bundle: Outgoing) -> _Plan:
    tensors: dict[str, torch.Tensor] = {}
    types: dict[str, torch.dtype] = {}
    entries: list[list[Any]] = []
    for name, value in bundle.items():
        if isinstance(value, Narrowed):
            tensors[name], types[name] = value.tensor.detach(), value.dtype
            entries.append([name, {"tensor": _name(value.tensor.dtype)}])
        elif isinstance(value, torch.Tensor):
            tensors[name], types[name] = value.detach(), value.dtype
            entries.append([name, "tensor"])
        else:
            entries.append([name, {"value": value}])
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(entries)}}
    begin = 0
    # Widest first, so that each tensor lies where its elements may lie.
    for name, dtype in sorted(types.items(), key=lambda item: -item[1].itemsize):
        offsets = [begin, begin + tensors[name].numel() * dtype.itemsize]
        header[name] = {"dtype": _name(dtype), "shape": list(tensors[name].shape), "data_offsets": offsets}
        begin = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    origin = 8 + len(text)
    placed = [(tensor, types[name], origin + header[name]["data_offsets"][0]) for name, tensor in tensors.items()]
    return _Plan(len(text).to_bytes(8, "little") + text, placed, origin + begin)


def encoded_bytes(bundle: Outgoing) -> int:
    """How long ``encode`` makes it; its tensors may be on the meta device. Raises TypeError as that does."""
    return _planned(bundle).size


def encode(bundle: Outgoing) -> bytearray:
    """``bundle`` as bytes, order kept. Tensors are taken as they are at this moment.

    Raises:
        TypeError: a tensor's element type has no name on the wire.
    """
    plan = _planned(bundle)
    data = bytearray(plan.size)
    data[: len(plan.head)] = plan.head
    for tensor, dtype, begin in plan.placed:
        _place(data, dtype, list(tensor.shape), begin).copy_(tensor)
    return data


def layout(data: bytes | bytearray) -> tuple[int, int]:
    """Where the tensors begin in an encoded bundle, and how long it is in all; ``data`` may be its beginning only.

    Raises:
        MalformedObject: the header is truncated or not of this format.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header: dict[str, Any] = json.loads(data[8 : 8 + length])
        ends = (int(item["data_offsets"][1]) for name, item in header.items() if name != "__metadata__")
        return 8 + length, 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise MalformedObject(f"an object of {len(data)} bytes is not one of ours: {error}") from None


def _name(dtype: torch.dtype) -> str:
    if dtype not in _DTYPES:
        raise TypeError(f"a tensor of {dtype} cannot be sent; of {', '.join(map(str, _DTYPES))} it can")
    return _DTYPES[dtype]


def decode(data: bytes | bytearray) -> Bundle:
    """The bundle that was encoded. Its tensors lie in ``data`` where that is a bytearray, which they then own; those
    that travelled narrowed are copies.

    Raises:
        MalformedObject: the bytes are truncated or not of this format.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header: dict[str, Any] = json.loads(data[8 : 8 + length])
        entries = json.loads(header.pop("__metadata__")[_KEY])
        ends = max((int(item["data_offsets"][1]) for item in header.values()), default=0)
        if len(data) != 8 + length + ends:
            raise ValueError(f"its header promises {8 + length + ends}")
        buffer = data if isinstance(data, bytearray) else bytearray(data)
        tensors = {name: _tensor(buffer, 8 + length, item) for name, item in header.items()}
        return {name: _value(tensors.get(name), kind) for name, kind in entries}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError) as error:
        raise MalformedObject(f"an object of {len(data)} bytes is not one of ours: {error}") from None


def _tensor(buffer: bytearray, origin: int, item: dict[str, Any]) -> torch.Tensor:
    dtype, shape = _NAMED[item["dtype"]], [int(size) for size in item["shape"]]
    begin, end = item["data_offsets"]
    if min([begin, *shape], default=0) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - begin} bytes do not hold a {item['dtype']} of shape {shape}")
    return _place(buffer, dtype, shape, origin + begin)


def _value(tensor: torch.Tensor | None, kind: Any) -> torch.Tensor | Scalar:
    if kind != "tensor" and "value" in kind:
        return kind["value"]
    if tensor is None:
        raise ValueError("its header names a tensor that it does not hold")
    return tensor if kind == "tensor" else tensor.to(_NAMED[kind["tensor"]])


def pack(value: Any) -> Bundle:
    """What a layer returned, as named leaves and the shape of their nesting.

    ``value`` is a tensor, a number, None, or a tuple, list or dict (with string keys) of such.

    Raises:
        TypeError: anything else.
    """
    leaves: Bundle = {}
    structure = _describe(value, "x", leaves)
    return {"structure": json.dumps(structure), **leaves}


def unpack(bundle: Bundle) -> Any:
    """The value that was packed."""
    return _rebuild(json.loads(str(bundle["structure"])), bundle)


# Not closures inside the two: those would refer to themselves, and keep tensors until Python collects garbage.


def _describe(part: Any, name: str, leaves: Bundle) -> Any:
    """The nesting of ``part`` as JSON has it; adds what it nests to ``leaves``."""
    if isinstance(part, tuple | list):
        kind = "tuple" if isinstance(part, tuple) else "list"
        return {kind: [_describe(item, f"{name}.{index}", leaves) for index, item in enumerate(part)]}
    if isinstance(part, dict):
        return {"dict": [[key, _describe(item, f"{name}.{key}", leaves)] for key, item in part.items()]}
    if part is not None and not isinstance(part, torch.Tensor | bool | int | float | str):
        raise TypeError(f"a {type(part).__name__} cannot cross a stage boundary: tensors, numbers and None can")
    leaves[name] = part
    return name


def _rebuild(node: Any, bundle: Bundle) -> Any:
    if isinstance(node, str):
        return bundle[node]
    if "dict" in node:
        return {key: _rebuild(item, bundle) for key, item in node["dict"]}
    items = [_rebuild(item, bundle) for item in node.get("tuple", node.get("list"))]
    return tuple(items) if "tuple" in node else items
