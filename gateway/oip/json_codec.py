"""The protocol's JSON over REST: inference requests and responses, with raw tensors behind the JSON.

With the binary tensor extension, raw tensors follow the JSON, and a header gives the length of the JSON.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import orjson

from errors import UnreadableInput
from gateway.oip.datatypes import datatype_of
from gateway.oip.infer_messages import (
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    from_raw,
    nested,
    to_json,
    to_raw,
)
from gateway.oip.shared_memory import RequestMemory

LENGTH_HEADER = b"inference-header-content-length"


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; an empty body is an empty object. Raises UnreadableInput."""
    try:
        content = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError as error:
        raise UnreadableInput(f"the body is not valid JSON: {error.msg} (at {error.pos})") from error
    if not isinstance(content, dict):
        raise UnreadableInput("the body must be a JSON object")
    return content


def parameters_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request or tensor. Raises UnreadableInput when they are neither an object nor null."""
    parameters = _given(entry, "parameters", {})
    if not isinstance(parameters, dict):
        raise UnreadableInput("`parameters` must be an object")
    return parameters


def read_request(
    data: bytes, header_length: str | None, model: str, version: str | None, memory: RequestMemory
) -> InferRequest:
    """Read the request in a body, and its tensors in shared memory.

    Raises UnreadableInput when it does not follow the protocol.
    """
    length = _json_length(header_length, len(data))
    content = parse_object(data[:length])
    raw = _RawTensors(data, length, memory)
    request = InferRequest(
        model=model,
        version=version,
        id=None if content.get("id") is None else _text(content["id"], "id"),
        inputs=tuple(_input(each, raw) for each in _objects(content.get("inputs"), "inputs")),
        outputs=_outputs(content, memory),
        parameters=parameters_of(content),
    )
    raw.check_all_used()
    return request


def write_response(response: InferResponse, request: InferRequest) -> tuple[bytes, int | None]:
    """Return the body of a response, and the length of its JSON where raw tensors follow it."""
    if request.outputs is None:
        raw = [_default_binary(request.parameters)] * len(response.outputs)
    else:
        raw = [each.binary for each in request.outputs]
    heads, tails = [], []
    for tensor, is_raw in zip(response.outputs, raw, strict=True):
        head: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if (place := response.places.get(tensor.name)) is not None:
            head["parameters"] = place.parameters
        elif is_raw:
            tails.append(to_raw(tensor))
            head["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            head["data"] = to_json(tensor)
        heads.append(head)
    content: dict[str, Any] = {"model_name": response.model, "model_version": response.version, "outputs": heads}
    if response.id is not None:
        content["id"] = response.id
    if response.parameters:
        content["parameters"] = response.parameters
    encoded = orjson.dumps(content)
    return b"".join((encoded, *tails)), len(encoded) if tails else None


class _RawTensors:
    """The raw tensors of a request: those that follow the JSON, in the order of the inputs, and those in memory."""

    def __init__(self, data: bytes, start: int, memory: RequestMemory) -> None:
        self._data = data
        self._position = start
        self.memory = memory

    def take(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise UnreadableInput("the binary data ends before the last input's")
        return self._data[start : self._position]

    def check_all_used(self) -> None:
        if self._position < len(self._data):
            raise UnreadableInput(f"{len(self._data) - self._position} bytes follow the last input's binary data")


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) <= 18 and int(header) <= size):
        raise UnreadableInput("Inference-Header-Content-Length must be the length of the JSON in front of the tensors")
    return int(header)


def _input(entry: Mapping[str, Any], raw: _RawTensors) -> Tensor:
    name, datatype = _text(entry.get("name"), "name of an input"), _text(entry.get("datatype"), "datatype of an input")
    shape, parameters = _shape(entry.get("shape"), name), parameters_of(entry)
    place = raw.memory.slice_of(parameters, name)
    if place is not None:
        if "data" in entry or "binary_data_size" in parameters:
            raise UnreadableInput(f"input '{name[:80]}' is in shared memory, and has data beside it")
        return from_raw(name, datatype, shape, raw.memory.read(place))
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        if type(size) is not int or size < 0 or "data" in entry:
            raise UnreadableInput(f"input '{name[:80]}': binary_data_size is a number of bytes and replaces data")
        return from_raw(name, datatype, shape, raw.take(size))
    return Tensor(name, datatype, shape, _values(entry.get("data"), datatype, shape, name))


def _shape(value: Any, name: str) -> tuple[int, ...]:
    sizes = value if isinstance(value, list) else [None]
    if any(type(size) is not int or not 0 <= size < 2**31 for size in sizes) or len(sizes) > 16:
        raise UnreadableInput(f"input '{name[:80]}': shape must be a list of sizes")
    return tuple(sizes)


def _values(value: Any, datatype: str, shape: tuple[int, ...], name: str) -> list[Any]:
    """Return the elements, sent flat or nested as the shape says."""
    found = datatype_of(datatype, name)
    if not isinstance(value, list):
        raise UnreadableInput(f"input '{name[:80]}' has no data")
    values = value
    while values and all(type(each) is list for each in values):
        values = [leaf for each in values for leaf in each]
    if values is not value and (0 in shape or len(values) != prod(shape) or nested(values, shape) != value):
        raise UnreadableInput(f"input '{name[:80]}': data is nested otherwise than shape {list(shape)}")
    if not all(map(found.holds, values)):
        raise UnreadableInput(f"input '{name[:80]}': data holds something that is not {datatype}")
    # Decimals stand for the nearest half; those of longer floats are rounded where they are used.
    return list(found.from_bytes(found.to_bytes(values))) if found.size == 2 and found.kind is float else values


def _outputs(content: Mapping[str, Any], memory: RequestMemory) -> tuple[RequestedOutput, ...] | None:
    wanted = _objects(_given(content, "outputs", []), "outputs")
    default = _default_binary(parameters_of(content))
    return tuple(_output(each, memory, default=default) for each in wanted) or None


def _default_binary(parameters: Mapping[str, Any]) -> bool:
    return parameters.get("binary_data_output") is True


def _output(entry: Mapping[str, Any], memory: RequestMemory, *, default: bool) -> RequestedOutput:
    parameters = parameters_of(entry)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise UnreadableInput("classification must be a number of classes")
    name = _text(entry.get("name"), "name of an output")
    place = memory.slice_of(parameters, name)
    return RequestedOutput(name, classes, parameters.get("binary_data", default) is True, place)


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise UnreadableInput(f"`{what}` must be a list of tensors")
    return value


def _given(entry: Mapping[str, Any], member: str, otherwise: Any) -> Any:
    """Return an optional member: clients leave it out or send null, which means the same."""
    value = entry.get(member)
    return otherwise if value is None else value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise UnreadableInput(f"the {what} must be text")
    return value
