"""An ordered set of named tensors, numbers and Nones as one safetensors object.

Tensors travel as safetensors; what is not a tensor, and the order of all names, stands in the header's metadata as
JSON. Nothing received is ever executed or unpickled. Written here rather than by the library of that name because it
copies a payload three times on its way out; here it is copied once, and on its way in not at all.

    8 bytes: length of the header │ header: JSON, padded with spaces │ tensors, the widest elements first
"""

import json
import math
from typing import Any

import torch

Scalar = bool | int | float | str | None
Bundle = dict[str, torch.Tensor | Scalar]
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


class MalformedObject(ValueError):
    """Bytes that are not what ``encode`` makes."""


def _place(buffer: bytearray, dtype: torch.dtype, shape: list[int], begin: int) -> torch.Tensor:
    """A tensor that lies in ``buffer`` from ``begin`` on. Raises ValueError where the buffer is too short."""
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=torch.uint8, count=size, offset=begin).view(dtype).view(shape)


def encode(bundle: Bundle) -> bytearray:
    """``bundle`` as bytes, order kept. Tensors are taken as they are at this moment.

    Raises:
        TypeError: a tensor's element type has no name on the wire.
    """
    tensors = {name: value.detach() for name, value in bundle.items() if isinstance(value, torch.Tensor)}
    entries = [[name, "tensor" if name in tensors else {"value": value}] for name, value in bundle.items()]
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(entries)}}
    begin = 0
    # Widest first, so that each tensor lies where its elements may lie.
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        if tensor.dtype not in _DTYPES:
            raise TypeError(f"a tensor of {tensor.dtype} cannot be sent; of {', '.join(map(str, _DTYPES))} it can")
        offsets = [begin, begin + tensor.nbytes]
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        begin = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    data = bytearray(8 + len(text) + begin)
    data[: 8 + len(text)] = len(text).to_bytes(8, "little") + text
    for name, tensor in tensors.items():
        place = _place(data, tensor.dtype, list(tensor.shape), 8 + len(text) + header[name]["data_offsets"][0])
        place.copy_(tensor)
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


def decode(data: bytes | bytearray) -> Bundle:
    """The bundle that was encoded. Its tensors lie in ``data`` where that is a bytearray, which they then own.

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
        return {name: tensors[name] if kind == "tensor" else kind["value"] for name, kind in entries}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError) as error:
        raise MalformedObject(f"an object of {len(data)} bytes is not one of ours: {error}") from None


def _tensor(buffer: bytearray, origin: int, item: dict[str, Any]) -> torch.Tensor:
    dtype, shape = _NAMED[item["dtype"]], [int(size) for size in item["shape"]]
    begin, end = item["data_offsets"]
    if min([begin, *shape], default=0) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - begin} bytes do not hold a {item['dtype']} of shape {shape}")
    return _place(buffer, dtype, shape, origin + begin)


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
