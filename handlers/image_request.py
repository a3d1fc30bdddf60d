"""A request to an image model → its images, still encoded or as arrays of pixel values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import encoded_image, request_body
from handlers.errors import InvalidFields, RequestError, shortened

Encoded = bytes | bytearray
RequestImage = Encoded | NDArray[np.float64]
"""An image as the client sent it: the bytes of a file, or pixel values [height, width(, 3)]."""


def read(payload: Any, media_type: str) -> list[RequestImage]:
    """Return the images of one request, at least one.

    `payload` is the bytes of one image, base64 text with or without a data URL, {"image": ...} or
    {"instances": [...]}. Bytes may be base64 as well, unless their media type declares an image.
    Raises UnreadableInput, WrongMediaType or InvalidFields.
    """
    if isinstance(payload, dict) and "instances" in payload:
        return _instances(request_body.instances(payload))
    if isinstance(payload, Encoded):
        return [payload if media_type.startswith("image/") else _bytes(payload)]
    if isinstance(payload, dict | str):
        return [_one(payload)]
    raise InvalidFields('send the bytes of a picture, {"image": base64} or {"instances": [...]}')


def _instances(items: list[Any]) -> list[RequestImage]:
    images = []
    for index, item in enumerate(items):
        try:
            images.append(_one(item))
        except RequestError as error:
            raise error.within(f"instances[{index}]") from None
    return images


def _one(item: Any) -> RequestImage:
    if not isinstance(item, dict):
        return _value(item)
    if "image" not in item:
        raise InvalidFields("missing field: image")
    if unknown := set(item) - {"image"}:
        raise InvalidFields(f"unknown field: {shortened(unknown)}")
    return _value(item["image"])


def _value(value: Any) -> RequestImage:
    if isinstance(value, str):
        return encoded_image.decode_text(value)[1]
    if isinstance(value, list):
        return request_body.number_array(value, 3)
    raise InvalidFields("image must be base64 text or a nested list of pixel values")


def _bytes(data: Encoded) -> Encoded:
    return encoded_image.decode_text(data.decode("latin-1"))[1] if encoded_image.is_text(data) else data
