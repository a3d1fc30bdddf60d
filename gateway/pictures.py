"""Pictures by the worker's own rules: base64 text, data URLs, and how much one request may hold."""

import re

from gateway.body import OCTETS
from handlers import picture_text

_IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")


def picture_type(media_type: str) -> str:
    """The media type when it is an image's and safe to repeat in a header, else application/octet-stream."""
    return media_type if _IMAGE_TYPE.fullmatch(media_type) else OCTETS


def from_base64(text: str) -> tuple[str, bytes]:
    """Media type and bytes of a picture given as base64, with or without a data URL in front, lines wrapped or not.

    Raises UnreadableInput when the text is not base64 or is empty, WrongMediaType for a data URL of something else.
    """
    media_type, picture = picture_text.decode(text)
    return picture_type(media_type), picture
