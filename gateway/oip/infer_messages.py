"""Inference requests and responses, free of REST and gRPC, and the tensors in them.

Elements are Python numbers in flat lists, because the engine reads JSON.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Any

from errors import Internal, NotSupported, UnreadableInput
from gateway.oip.datatypes import BYTES, DATATYPES, datatype_of
from gateway.oip.shared_memory import RegionSlice


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its elements in row-major order: numbers, booleans, or bytes and text for BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the client requested.

    With `classes` above 0, the client wants that many of the best classes instead of numbers. `binary` requests the
    raw form over REST. `place` is the slice of shared memory that gets the raw form.
    """

    name: str
    classes: int = 0
    binary: bool = False
    place: RegionSlice | None = None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A client's request; `outputs` is None for all outputs, and `id` is the client's own, repeated in the response."""

    model: str
    version: str | None
    id: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] | None
    parameters: Mapping[str, Any]

    def check_parameters(self) -> None:
        """Raise NotSupported for a request of a sequence."""
        if self.parameters.get("sequence_id"):
            raise NotSupported(
                "sequence_id: the models here keep no state between requests; send each request without it"
            )

    def timeout_s(self) -> float | None:
        """Return the seconds that the parameter `timeout` allows, which is in microseconds; None without it or for 0.

        Raises UnreadableInput when it is not a whole number of microseconds.
        """
        timeout = self.parameters.get("timeout")
        if timeout is None:
            return None
        if type(timeout) is not int or timeout < 0:
            raise UnreadableInput("the parameter timeout must be a whole number of microseconds")
        return timeout / 1e6 or None


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The response to one InferRequest; `places` has the outputs that are in shared memory, by name."""

    model: str
    version: str
    id: str | None
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, Any]
    places: Mapping[str, RegionSlice] = field(default_factory=dict)


def from_raw(name: str, datatype: str, shape: tuple[int, ...], data: bytes) -> Tensor:
    """Read an input's raw form. Raises UnreadableInput when the bytes do not fit the shape."""
    found = datatype_of(datatype, name)
    needed = prod(shape) * found.size
    if found.size and len(data) != needed:
        raise UnreadableInput(
            f"input '{name[:80]}' needs {needed} bytes for {datatype} of shape {list(shape)}, {len(data)} were sent"
        )
    try:
        return Tensor(name, datatype, shape, found.from_bytes(data))
    except UnreadableInput as error:
        raise UnreadableInput(f"input '{name[:80]}': {error.detail}") from None


def to_raw(tensor: Tensor) -> bytes:
    """Return the raw form of an output. Raises Internal for an element that its datatype does not hold."""
    try:
        return DATATYPES[tensor.datatype].to_bytes(tensor.values)
    except (struct.error, OverflowError, TypeError) as error:
        raise Internal(
            f"output '{tensor.name}' of the model's answer does not fit {tensor.datatype}: {error}"
        ) from error


def to_json(tensor: Tensor) -> Sequence[Any]:
    """Return the elements of an output as JSON has them. Raises Internal for what JSON or the datatype cannot hold."""
    try:
        if tensor.datatype == BYTES:
            return [value.decode() if isinstance(value, bytes) else value for value in tensor.values]
        to_raw(tensor)  # only to check the elements
        if DATATYPES[tensor.datatype].kind is not float or all(map(isfinite, tensor.values)):
            return list(tensor.values)
    except UnicodeDecodeError:
        pass
    raise Internal(f"output '{tensor.name}' holds what JSON cannot; request it with binary_data=true")


def nested(values: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return flat elements as nested lists; the shape has at least one dimension and none of size 0."""
    found = list(values)
    for size in reversed(shape[1:]):
        found = [found[start : start + size] for start in range(0, len(found), size)]
    return found
