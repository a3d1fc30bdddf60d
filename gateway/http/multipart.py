"""The files and fields of a multipart/form-data body, found in memory.

A part is a file if it has a file name, another content type than text, or bytes that are no text: not every client
names the picture that it sends.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from errors import InvalidFields, UnreadableInput
from gateway.http.body import Body

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# More parts than any valid form has; a body beyond it is an attack on the parser.
MAX_PARTS = 256
# The largest head of a part that programs usually write; a longer one goes to the parser.
SHORT_HEAD = 512

_ENCODED_NAME = re.compile(rb";\s*filename\*\s*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FormFile:
    """A part of the form that is a file: its form field, its media type, its bytes."""

    field_name: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """A whole form: its files, none of them empty, and its other fields by name, the last of each."""

    files: list[FormFile]
    fields: dict[str, str]

    def only_file(self) -> FormFile:
        """Return the only file. Raises InvalidFields when there are several."""
        if len(self.files) != 1:
            raise InvalidFields(f"the form must hold exactly one file, it holds {len(self.files)}")
        return self.files[0]


def read_form(body: Body) -> Form:
    """Read a form with at least one file.

    Raises UnreadableInput when the form cannot be parsed or a file is empty, InvalidFields when it holds no file.
    """
    boundary = body.options.get(b"boundary")
    if not boundary:
        raise UnreadableInput("the multipart content type names no boundary")
    alone = _alone(body.data, boundary)
    form = _parsed(body.data, boundary) if alone is None else Form([alone], {})
    if not form.files:
        raise InvalidFields("the form must hold exactly one file, it holds 0")
    if not all(file.data for file in form.files):
        raise UnreadableInput("the file in the form is empty")
    return form


def _parsed(data: bytes, boundary: bytes) -> Form:
    collector = _Collector()
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise UnreadableInput("the multipart body cannot be parsed") from error
    if not collector.ended:
        raise UnreadableInput("the multipart body ends before its last boundary")
    return Form(collector.files, collector.fields)


def _alone(data: bytes, boundary: bytes) -> FormFile | None:
    """Return the file of a form that has nothing else: the most common form, read without a parser's state machine.

    Return None for any other form.
    """
    opening, between = b"--%b\r\n" % boundary, b"\r\n--%b" % boundary
    start = len(opening)
    if not data.startswith(opening):
        return None
    head_end = data.find(b"\r\n\r\n", start, start + SHORT_HEAD)
    named = None if head_end < 0 else _head(data[start:head_end])
    if named is None:
        return None
    end = data.find(between, head_end + 4)
    if end < 0 or data[end + len(between) :] not in (b"--\r\n", b"--"):
        return None
    name, media_type, is_named = named
    content = data[head_end + 4 : end]
    return FormFile(name, media_type, content) if is_named or _is_file(media_type, content) else None


@lru_cache(maxsize=256)
def _head(lines: bytes) -> tuple[str, str, bool] | None:
    """Return `_named` of a part's head; None for an unusual head."""
    headers: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        if not colon or b"\r" in line or not name.replace(b"-", b"").isalpha() or name.lower() in headers:
            return None
        headers[name.lower()] = value
    return _named(headers)


def _named(headers: dict[bytes, bytes]) -> tuple[str, str, bool]:
    """Return form field and media type of a part, and whether it has a file name."""
    stated = headers.get(b"content-disposition", b"")
    _, disposition = parse_options_header(stated)
    media_type, _ = parse_options_header(headers.get(b"content-type"))
    # The parser leaves out `filename*`, the encoded form of RFC 5987.
    has_name = b"filename" in disposition or _ENCODED_NAME.search(stated) is not None
    return disposition.get(b"name", b"").decode("utf-8", "replace"), media_type.decode("latin-1").lower(), has_name


def _is_file(media_type: str, data: bytes) -> bool:
    """Return True for the content of a part without a file name that is a file nevertheless."""
    if media_type and not media_type.startswith("text/"):
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return b"\0" in data


class _Collector:
    """Receives the parser's callbacks and keeps the parts."""

    def __init__(self) -> None:
        self.files: list[FormFile] = []
        self.fields: dict[str, str] = {}
        self.ended = False
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._name = b""
        self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._finish,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if self._parts == MAX_PARTS:
            raise UnreadableInput(f"the form has more than {MAX_PARTS} parts")
        self._parts += 1
        self._headers, self._pieces = {}, []

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _finish(self) -> None:
        name, media_type, is_named = _named(self._headers)
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if is_named or _is_file(media_type, data):
            self.files.append(FormFile(name, media_type, data))
        else:
            self.fields[name] = data.decode()

    def _end(self) -> None:
        self.ended = True
