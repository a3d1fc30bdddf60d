"""The content of a body: what it holds, whatever name its client gave it.

    form ──▶ its files, its fields          one file ──┐
    body ──────────────────────────────────────────────┴──▶ JSON, or the bytes of a file

Many clients name no type, or the one that their program writes by default. No picture begins as JSON does.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from errors import UnreadableInput, WrongMediaType
from gateway.http.body import OCTETS, Body
from gateway.http.multipart import FormFile, read_form

JSON = "application/json"
MULTIPART = "multipart/form-data"
URL_ENCODED = "application/x-www-form-urlencoded"
"""The type that curl writes when the user names none."""

# They say nothing about the content; the last one is that of SageMaker's clients for pictures.
_UNSTATED = frozenset({OCTETS, URL_ENCODED, "binary/octet-stream", "application/x-image"})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Content:
    """The content of one body: JSON under `json`, or the bytes of a file; or the `files` of a form with several.

    `file_field` is the field of the only file of a form, `fields` are its other fields. `media_type` is in lower case,
    application/octet-stream for an unknown one.
    """

    media_type: str
    data: bytes = field(repr=False)
    json: Any = field(default=None, repr=False)
    files: tuple[FormFile, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    file_field: str = ""


def read_content(body: Body) -> Content:
    """Return what the body holds. Raises UnreadableInput, InvalidFields, and WrongMediaType for a form that is text."""
    if body.media_type != MULTIPART:
        return Content(*_typed(body.media_type, body.data))
    form = read_form(body)
    if len(form.files) > 1:
        return Content(MULTIPART, b"", files=tuple(form.files), fields=form.fields)
    file = form.files[0]
    # Programs name the type of a file by its suffix, so that one says little which is neither of these.
    says = is_json(file.media_type) or file.media_type.startswith("image/")
    typed = _typed(file.media_type if says else OCTETS, file.data)
    return Content(*typed, fields=form.fields, file_field=file.field_name)


def is_json(media_type: str) -> bool:
    """Return True for a media type of JSON."""
    return media_type == JSON or media_type.endswith("+json")


def parse_json(data: bytes) -> Any:
    """Return parsed JSON. Raises UnreadableInput."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        # The parser's message quotes nothing of the body, and its position helps the client.
        raise UnreadableInput(f"the body is not valid JSON: {error.msg} (at {error.pos})") from error


def read_json(data: bytes) -> tuple[bytes, Any]:
    """Return JSON without a byte order mark, and parsed. Raises UnreadableInput."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    return data, parse_json(data)


def _typed(media_type: str, data: bytes) -> tuple[str, bytes, Any]:
    """Return media type, bytes, and parsed JSON."""
    if is_json(media_type):
        return (JSON, *read_json(data))
    if media_type not in _UNSTATED:
        return media_type, data, None
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if data[:64].lstrip()[:1] in (b"{", b"["):
        return JSON, data, parse_json(data)
    if media_type == URL_ENCODED and data.isascii() and b"=" in data.rstrip(b"=\r\n"):
        raise WrongMediaType("this is a form of text; name the content's type, with curl: -H 'Content-Type: image/png'")
    return OCTETS, data, None
