"""Pictures by the worker's own rules: base64 text, data URLs, and how much one request may hold."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from errors import InvalidFields, RequestError, TooLarge, UnreadableInput, WrongMediaType
from gateway.body import OCTETS
from handlers import picture_text
from handlers.errors import HandlerError

_IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")
_BY_CODE: Mapping[str, type[RequestError]] = {
    error.code: error for error in (UnreadableInput, TooLarge, WrongMediaType, InvalidFields)
}


def picture_type(media_type: str) -> str:
    """The media type when it is an image's and safe to repeat in a header, else application/octet-stream."""
    return media_type if _IMAGE_TYPE.fullmatch(media_type) else OCTETS


def from_base64(text: str) -> tuple[str, bytes]:
    """Media type and bytes of a picture given as base64, with or without a data URL in front, lines wrapped or not.

    Raises UnreadableInput when the text is not base64 or is empty, WrongMediaType for a data URL of something else.
    """
    with workers_verdict():
        media_type, picture = picture_text.decode(text)
    return picture_type(media_type), picture


@contextmanager
def workers_verdict() -> Iterator[None]:
    """Raise what a worker would refuse a request with as the gateway's own error of the same code."""
    try:
        yield
    except HandlerError as error:
        raise _BY_CODE[error.code](error.detail) from None
