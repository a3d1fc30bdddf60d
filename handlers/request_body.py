"""The body of one request, as a handler gets it from TorchServe in a row, and the numbers in its JSON.

TorchServe parses `application/json` itself and turns `text/*` into text; a body that it cannot parse arrives as bytes.
"""

import json
from collections.abc import Mapping, Set
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.errors import InvalidFields, UnreadableInput, WrongMediaType, shortened

ANYTHING = ("", "application/octet-stream")
"""Media types that say nothing about the content: none at all, and the default of many programs."""


def body_of(row: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name and the value of the parameter with the body; raises UnreadableInput without one."""
    for name in ("body", "data"):
        if name in row:
            return name, row[name]
    raise UnreadableInput("the request has no body")


def media_type(headers: Mapping[str, Any], name: str) -> str:
    """Return the media type of a parameter in lower case and without its own parameters; "" where none is given."""
    entry = headers.get(name)
    declared = entry.get("content-type", "") if isinstance(entry, dict) else ""
    return str(declared or "").split(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Return true for a media type of JSON."""
    return media == "application/json" or media.endswith("+json")


def require_media_type(media: str, prefixes: tuple[str, ...], expected: str) -> None:
    """Raise WrongMediaType unless the media type is JSON, uninformative, or starts with one of the prefixes."""
    if not (is_json(media) or media in ANYTHING or media.startswith(prefixes)):
        raise WrongMediaType(f"{media[:100]} is not read here; send {expected}")


def parse_json(body: bytes | bytearray | str) -> Any:
    """Parse a body that TorchServe did not; raises UnreadableInput."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableInput("the body is not valid JSON") from None


def json_of(body: Any, media: str) -> Any:
    """Return a body's JSON, in whatever form TorchServe passes it; raises WrongMediaType or UnreadableInput."""
    require_media_type(media, ("text/",), "JSON")
    if isinstance(body, bytes | bytearray | str) and not (isinstance(body, str) and is_json(media)):
        return parse_json(body)
    return body


def instances(payload: Mapping[str, Any], beside: Set[str] = frozenset()) -> list[Any]:
    """Return the list under `instances`, which must not be empty; other fields are those in `beside`.

    Raises InvalidFields.
    """
    if unknown := set(payload) - {"instances"} - beside:
        raise InvalidFields(f"unknown field beside instances: {shortened(unknown)}")
    values = payload["instances"]
    if not isinstance(values, list) or not values:
        raise InvalidFields("instances must be a list that is not empty")
    return values


def number_array(value: list[Any], max_dimensions: int) -> NDArray[np.float64]:
    """Turn nested lists, at most `max_dimensions` levels of them, into a float64 array of finite numbers.

    Raises InvalidFields for a deeper or ragged nest, a boolean, text, null, or a number that is not finite.
    """
    leaves, shape = unnested(value, max_dimensions)
    return _numbers(leaves).reshape(shape)


def unnested(value: list[Any], max_dimensions: int) -> tuple[list[Any], tuple[int, ...]]:
    """Return the leaves of nested lists and the shape of the nest.

    It unpacks one level at a time without recursion, at most `max_dimensions` levels, so deep nesting costs nothing.
    Raises InvalidFields for a deeper or ragged nest.
    """
    shape = [len(value)]
    level = value
    while level and type(level[0]) is list:
        if len(shape) == max_dimensions:
            raise InvalidFields(f"lists are nested deeper than {max_dimensions}")
        if set(map(type, level)) != {list} or len(set(map(len, level))) != 1:
            raise InvalidFields("lists at the same level must have the same length")
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
    return level, tuple(shape)


def require_types(leaves: list[Any], types: Set[type], expected: str) -> None:
    """Raise InvalidFields for a leaf of another type."""
    for wrong in set(map(type, leaves)) - types:
        raise InvalidFields(f"{_NAMES.get(wrong, 'something else')} instead of {expected}")


def _numbers(leaves: list[Any]) -> NDArray[np.float64]:
    # numpy would read true and "1" as 1, so the types are checked first.
    require_types(leaves, {int, float}, "a number")
    try:
        array = np.array(leaves, dtype=np.float64)
    except OverflowError:
        raise InvalidFields("a number is too large") from None
    if not np.isfinite(array).all():
        raise InvalidFields("a number is not finite")
    return array


_NAMES = {
    bool: "a boolean",
    int: "a whole number",
    float: "a fractional number",
    str: "text",
    type(None): "null",
    dict: "an object",
    list: "a list",
}
