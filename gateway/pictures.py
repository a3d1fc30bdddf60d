"""Base64 text → the picture's bytes."""

import base64
import binascii
import re

from errors import UnreadableInput
from gateway.body import OCTETS

_IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")
_DATA_URL = re.compile(r"data:([^,;]*)(?:;[^,;]*)*?;base64,", re.IGNORECASE)


def picture_type(media_type: str) -> str:
    """The media type when it is an image's and safe to repeat in a header, else application/octet-stream."""
    return media_type if _IMAGE_TYPE.fullmatch(media_type) else OCTETS


def from_base64(text: str) -> tuple[str, bytes]:
    """Media type and bytes of a picture given as base64, with or without a data URL in front, lines wrapped or not.

    Raises UnreadableInput when the text is not base64 or is empty.
    """
    media_type = OCTETS
    if text[:5].lower() == "data:":
        prefix = _DATA_URL.match(text[:256])
        if prefix is None:
            raise UnreadableInput("the data URL of the picture is not base64")
        media_type, text = picture_type(prefix[1].lower()), text[prefix.end() :]
    try:
        picture = base64.b64decode(text, validate=True)
    except ValueError:
        picture = _wrapped(text)
    if not picture:
        raise UnreadableInput("the picture is empty")
    return media_type, picture


def _wrapped(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableInput("the picture is not valid base64") from error
