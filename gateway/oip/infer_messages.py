"""Inference requests and responses, free of REST and gRPC, and the tensors in them.

Elements are Python numbers in flat lists, because the engine reads JSON.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from errors import UnreadableInput

BYTES = "BYTES"

# Codes of `struct`. The protocol's raw form is little-endian and has no padding.
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
class Tensor:
    """A tensor with its elements in row-major order: numbers, booleans, or bytes and text for BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the client requested.

    With `classes` above 0, the client wants that many of the best classes instead of numbers. `binary` requests the
    raw form over REST.
    """

    name: str
    classes: int = 0
    binary: bool = False


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A client's request; `outputs` is None for all outputs, and `id` is the client's own, repeated in the response."""

    model: str
    version: str | None
    id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] | None
    parameters: Mapping[str, Any]

    def timeout_s(self) -> float | None:
        """Return the seconds that the parameter `timeout` allows, which is in microseconds; None without it.

        Raises UnreadableInput when it is not a whole number of microseconds.
        """
        timeout = self.parameters.get("timeout")
        if timeout is None or timeout == 0:
            return None
        if type(timeout) is not int or timeout < 0:
            raise UnreadableInput("the parameter timeout must be a whole number of microseconds")
        return timeout / 1e6


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The response to one InferRequest."""

    model: str
    version: str
    id: str
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, Any]


def is_known(datatype: str) -> bool:
    """Return whether the gateway reads elements of this datatype."""
    return datatype == BYTES or datatype in _CODES


def from_raw(name: str, datatype: str, shape: tuple[int, ...], data: bytes) -> Tensor:
    """Read a tensor's raw form, in which each BYTES element follows its length in 4 bytes.

    Raises UnreadableInput when the bytes do not fit the shape.
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
    """Return the raw form of a tensor."""
    if tensor.datatype == BYTES:
        encoded = [value if isinstance(value, bytes) else str(value).encode() for value in tensor.values]
        return b"".join(_LENGTH.pack(len(element)) + element for element in encoded)
    return struct.pack(f"<{len(tensor.values)}{_CODES[tensor.datatype]}", *tensor.values)


def nested(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return flat elements as nested lists; the shape has at least one dimension and none of size 0."""
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
