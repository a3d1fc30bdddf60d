"""A request to a picture model → its pictures, still as they came: encoded bytes or arrays of pixel values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import arrays, picture_text, rows
from handlers.errors import InvalidFields, RequestError

Encoded = bytes | bytearray
Sent = Encoded | NDArray[np.float64]
"""A picture as a client sends it: the bytes of a file, or pixel values [height, width(, 3)]."""


def read(payload: Any, media_type: str) -> list[Sent]:
    """Return the pictures of one request, at least one.

    `payload` is the bytes of one picture, base64 text with or without a data URL, {"image": ...} or
    {"instances": [...]}. Bytes may be base64 as well, unless their media type declares a picture.
    Raises UnreadableInput, WrongMediaType or InvalidFields.
    """
    if isinstance(payload, dict) and "instances" in payload:
        return _instances(rows.instances(payload))
    if isinstance(payload, Encoded):
        return [payload if media_type.startswith("image/") else _bytes(payload)]
    if isinstance(payload, dict | str):
        return [_one(payload)]
    raise InvalidFields('send the bytes of a picture, {"image": base64} or {"instances": [...]}')


def _instances(items: list[Any]) -> list[Sent]:
    pictures = []
    for index, item in enumerate(items):
        try:
            pictures.append(_one(item))
        except RequestError as error:
            raise error.within(f"instances[{index}]") from None
    return pictures


def _one(item: Any) -> Sent:
    if not isinstance(item, dict):
        return _value(item)
    if "image" not in item:
        raise InvalidFields("missing field: image")
    if unknown := set(item) - {"image"}:
        raise InvalidFields(f"unknown field: {rows.names(unknown)}")
    return _value(item["image"])


def _value(value: Any) -> Sent:
    if isinstance(value, str):
        return picture_text.decode(value)[1]
    if isinstance(value, list):
        return arrays.read(value, 3)
    raise InvalidFields("image must be base64 text or a nested list of pixel values")


def _bytes(data: Encoded) -> Encoded:
    return picture_text.decode(data.decode("latin-1"))[1] if picture_text.is_text(data) else data
