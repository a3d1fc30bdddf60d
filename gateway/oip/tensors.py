"""Tensors as the protocol has them: a datatype, a shape and the elements in row-major order.

They become lists of Python numbers, because what follows is the JSON that the engine reads.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from errors import UnreadableInput

BYTES = "BYTES"

# struct's codes; the protocol's raw form is little-endian and without padding.
_CODES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model reads or answers; -1 stands for any size, and the first dimension counts instances."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its elements, flat: numbers, booleans, or bytes and text for BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[Any] = field(repr=False)


def known(datatype: str) -> bool:
    """Whether elements of this datatype can be read."""
    return datatype == BYTES or datatype in _CODES


def from_raw(name: str, datatype: str, shape: tuple[int, ...], data: bytes) -> Tensor:
    """A tensor from its raw form; BYTES elements have their length, 4 bytes, in front.

    Raises UnreadableInput when the bytes are not those of the shape.
    """
    if datatype == BYTES:
        return Tensor(name, datatype, shape, list(_elements(name, data)))
    count, code = prod(shape), _CODES[datatype]
    needed = count * struct.calcsize(f"<{code}")
    if len(data) != needed:
        raise UnreadableInput(
            f"input '{name[:80]}' needs {needed} bytes for {datatype} of shape {list(shape)}, {len(data)} were sent"
        )
    return Tensor(name, datatype, shape, list(struct.unpack(f"<{count}{code}", data)))


def to_raw(tensor: Tensor) -> bytes:
    """The raw form of a tensor."""
    if tensor.datatype == BYTES:
        encoded = [value if isinstance(value, bytes) else str(value).encode() for value in tensor.values]
        return b"".join(_LENGTH.pack(len(element)) + element for element in encoded)
    return struct.pack(f"<{len(tensor.values)}{_CODES[tensor.datatype]}", *tensor.values)


def nested(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Flat elements as nested lists of this shape, which has a dimension at least and no empty one."""
    for size in reversed(shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def _elements(name: str, data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        start = position + _LENGTH.size
        position = start + _LENGTH.unpack(data[position:start])[0] if start <= len(data) else start
        if position > len(data):
            raise UnreadableInput(f"input '{name[:80]}' ends inside a BYTES element")
        yield data[start:position]
