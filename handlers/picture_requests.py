"""A request to a picture model → its pictures, still as they came: encoded bytes or arrays of pixel values."""

import base64
import binascii
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import arrays, rows
from handlers.errors import HandlerError, InvalidFields, UnreadableInput, WrongMediaType

Encoded = bytes | bytearray
Sent = Encoded | NDArray[np.float64]
"""A picture as a client sends it: the bytes of a file, or pixel values [height, width(, 3)]."""

_DATA_URL = re.compile(r"data:([^,]*),", re.IGNORECASE)
# What base64 is made of; the bytes of every picture format begin with something else.
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]+")


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
        except HandlerError as error:
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
        return _text(value)
    if isinstance(value, list):
        return arrays.read(value, 3)
    raise InvalidFields("image must be base64 text or a nested list of pixel values")


def _bytes(data: Encoded) -> Encoded:
    if data[:5].lower() == b"data:" or _BASE64.fullmatch(data):
        return _text(data.decode("latin-1"))
    return data


def _text(text: str) -> bytes:
    match = _DATA_URL.match(text)
    if match:
        media, *parameters = match[1].lower().split(";")
        if media and not media.startswith("image/"):
            raise WrongMediaType(f"the data URL holds {media[:100]}, not a picture")
        if "base64" not in (parameter.strip() for parameter in parameters):
            raise UnreadableInput("the data URL must be base64")
        text = text[match.end() :]
    try:
        # Line breaks are part of base64 as mail and command-line tools write it.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableInput("the picture's base64 is broken") from None
