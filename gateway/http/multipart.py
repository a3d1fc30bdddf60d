"""The one file of a multipart/form-data body, found in memory."""

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
MAX_PARTS = 64
# The largest head of a part that programs usually write; a longer one goes to the parser.
SHORT_HEAD = 512


@dataclass(frozen=True, slots=True)
class FormFile:
    """A part of the form that names a file: its form field, its media type, its bytes."""

    field_name: str
    media_type: str
    data: bytes = field(repr=False)


def one_file(body: Body, field_name: str | None = None) -> FormFile:
    """Return the only file of the form, which must be in the field `field_name` if that is given.

    Raises UnreadableInput when the form cannot be parsed or its file is empty, InvalidFields when it does not hold
    exactly one file in the right field.
    """
    files = _files(body)
    if len(files) != 1:
        raise InvalidFields(f"the form must hold exactly one file, it holds {len(files)}")
    if field_name is not None and files[0].field_name != field_name:
        raise InvalidFields(f"the picture must be in the form field `{field_name}`")
    if not files[0].data:
        raise UnreadableInput("the file in the form is empty")
    return files[0]


def _files(body: Body) -> list[FormFile]:
    boundary = body.options.get(b"boundary")
    if not boundary:
        raise UnreadableInput("the multipart content type names no boundary")
    alone = _alone(body.data, boundary)
    if alone is not None:
        return [alone]
    collector = _Collector()
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body.data)
        parser.finalize()
    except FormParserError as error:
        raise UnreadableInput("the multipart body cannot be parsed") from error
    if not collector.ended:
        raise UnreadableInput("the multipart body ends before its last boundary")
    return collector.files


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
    return FormFile(*named, data[head_end + 4 : end])


@lru_cache(maxsize=256)
def _head(lines: bytes) -> tuple[str, str] | None:
    """Return form field and media type from the head of a file's part; None for other parts and unusual heads."""
    headers: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        if not colon or b"\r" in line or not name.replace(b"-", b"").isalpha() or name.lower() in headers:
            return None
        headers[name.lower()] = value
    return _named(headers)


def _named(headers: dict[bytes, bytes]) -> tuple[str, str] | None:
    _, disposition = parse_options_header(headers.get(b"content-disposition"))
    if b"filename" not in disposition:
        return None
    media_type, _ = parse_options_header(headers.get(b"content-type"))
    return disposition.get(b"name", b"").decode("utf-8", "replace"), media_type.decode("latin-1").lower()


class _Collector:
    """Receives the parser's callbacks and keeps the files."""

    def __init__(self) -> None:
        self.files: list[FormFile] = []
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
        named = _named(self._headers)
        if named is None:
            return
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self.files.append(FormFile(*named, data))

    def _end(self) -> None:
        self.ended = True
