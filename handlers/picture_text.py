"""Pictures sent as text: base64, with or without a data URL in front.

Gateway and worker share these rules; only the standard library is needed.
"""

import base64
import re

from handlers import picture_header
from handlers.errors import UnreadableInput, WrongMediaType

_START = 4096
"""Characters in which the size of nearly every picture stands."""
# What base64 is made of; the bytes of every picture format begin with something else.
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]+")


def decode(text: str) -> tuple[str, bytes]:
    """Return the media type, "" where none is given, and the bytes of a picture.

    A data URL is that of RFC 2397: data:[image/...][;name=value...];base64,... Line breaks may stand anywhere in the
    base64, as mail and command-line tools write it. Raises WrongMediaType or UnreadableInput.
    """
    media_type, encoded = _split(text)
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)
        except ValueError:
            raise UnreadableInput("the picture's base64 is broken") from None
    if not data:
        raise UnreadableInput("the picture is empty")
    return media_type, data


def is_text(data: bytes | bytearray) -> bool:
    """Say whether bytes are a picture sent as text and not a picture file."""
    return data[:5].lower() == b"data:" or _BASE64.fullmatch(data) is not None


def size_of(text: str) -> tuple[int, int] | None:
    """Return (width, height) as the header of an encoded picture announces it, None where it cannot be read."""
    try:
        encoded = _split(text)[1]
        start = "".join(encoded[:_START].split())
        found = picture_header.size_of(base64.b64decode(start[: len(start) // 4 * 4]))
        if found is None and len(encoded) > _START:  # behind a long comment or profile
            found = picture_header.size_of(decode(text)[1])
    except (ValueError, UnreadableInput, WrongMediaType):
        return None
    return found


def _split(text: str) -> tuple[str, str]:
    if text[:5].lower() != "data:":
        return "", text
    head, comma, encoded = text[5:].partition(",")
    media_type, *parameters = (part.strip() for part in head.lower().split(";"))
    if not comma or not parameters or parameters[-1] != "base64":
        raise UnreadableInput("the data URL of the picture must end its head with ;base64,")
    if media_type and not media_type.startswith("image/"):
        raise WrongMediaType(f"the data URL holds {media_type[:100]}, not a picture")
    return media_type, encoded
