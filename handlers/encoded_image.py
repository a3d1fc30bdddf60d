"""Image files and images sent as base64, read without a decoder: their size, and limits on a decoder's work.

A few bytes can announce gigabytes, and decoders visit every segment, unpack every colour profile and decode every scan,
however many a file has. So the header is read first and the number of these parts is bounded. Text is base64, with or
without a data URL in front. Gateway and worker share this module, which needs only the standard library.
"""

import base64
import re
import struct
from collections.abc import Callable, Iterator

from handlers import isobmff
from handlers.errors import TooLarge, UnreadableInput, WrongMediaType

MOST_SEGMENTS = 4096
"""The most segments, blocks or tags beside the pixels. Cameras write some dozens, a colour profile up to 255."""
MOST_PARTS = 32_768
"""The most parts of a PNG's pixels. Encoders make parts of 8 kilobytes and more."""
MOST_SCANS = 32
"""The most scans of a JPEG, each of which costs as much as decoding it once. Progressive files have about ten."""
MOST_RLE_BYTES = 2**20
"""The most bytes of a run-length coded BMP, which Pillow decodes in Python, run by run."""

_HEADER_CHARACTERS = 4096
"""Characters of base64 that hold the header of nearly every image."""
# The characters of both alphabets of base64; the files of every image format begin with other bytes.
_BASE64 = re.compile(rb"[A-Za-z0-9+/=_\-\s]+")
_URL_SAFE = str.maketrans("-_", "+/")

Data = bytes | bytearray
_WIDTH, _HEIGHT, _COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 259, 322, 323
_STRIPS = (273, 324)
_JPEG_IN_TIFF = (6, 7)
# A marker of a JPEG that is neither an escaped 0xFF nor one without a length: only those two occur inside a scan.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


def size_of(data: Data) -> tuple[int, int] | None:
    """Return (width, height) in pixels of a PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC; else, or cut off, None.

    Raises TooLarge for a file with too many segments, tags or boxes.
    """
    reader = next((read for place, sign, read in _READERS if data[place : place + len(sign)] == sign), None)
    try:
        return None if reader is None else reader(data)
    except (struct.error, IndexError):
        return None  # cut off in its header: the decoder reports it


def check_structure(data: Data, max_pixels: int) -> None:
    """Raise TooLarge for a file whose structure costs a decoder far more than its pixels.

    A tile of a TIFF may have `max_pixels`.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            _check_png(data)
        elif data[:2] == b"\xff\xd8":
            _jpeg(data)
            _check_scans(data, MOST_SCANS)
        elif data[:3] == b"GIF":
            _check_gif(data)
        elif data[:2] == b"BM":
            _check_bmp(data)
        elif data[:2] in (b"II", b"MM"):
            _check_tiff(data, max_pixels)
    except (struct.error, IndexError):
        pass  # cut off: the decoder reports it


def decode_text(text: str) -> tuple[str, bytes]:
    """Return the media type, "" where none is given, and the bytes of an image sent as text.

    A data URL is that of RFC 2397: data:[image/...][;name=value...];base64,... The base64 may contain line breaks, as
    mail and command-line tools write it, may lack its padding, and may have the alphabet for URLs (RFC 4648, section
    5). Raises WrongMediaType or UnreadableInput.
    """
    media_type, encoded = _split(text)
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        try:
            data = base64.b64decode(standard(encoded), validate=True)
        except ValueError:
            raise UnreadableInput("the picture's base64 is broken") from None
    if not data:
        raise UnreadableInput("the picture is empty")
    return media_type, data


def standard(encoded: str) -> str:
    """Return base64 in the standard alphabet, without white space and with padding."""
    bare = "".join(encoded.split()).rstrip("=").translate(_URL_SAFE)
    return bare + "=" * (-len(bare) % 4)


def is_text(data: Data) -> bool:
    """Return true for bytes that are an image sent as text and not an image file."""
    return data[:5].lower() == b"data:" or _BASE64.fullmatch(data) is not None


def size_of_text(text: str) -> tuple[int, int] | None:
    """Return (width, height) from the header of an image sent as text, None where it cannot be read."""
    try:
        encoded = _split(text)[1]
        start = "".join(encoded[:_HEADER_CHARACTERS].split()).translate(_URL_SAFE)
        found = size_of(base64.b64decode(start[: len(start) // 4 * 4]))
        if found is None and len(encoded) > _HEADER_CHARACTERS:  # after a long comment or profile
            found = size_of(decode_text(text)[1])
    except (ValueError, UnreadableInput, WrongMediaType):
        return None
    return found


def _pair(form: str, data: Data, position: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, data, position)
    return int(first), int(second)


def _bmp(data: Data) -> tuple[int, int]:
    if data[14] == 12:  # the first header of OS/2
        return _pair("<HH", data, 18)
    width, height = _pair("<ii", data, 18)
    return abs(width), abs(height)


def _webp(data: Data) -> tuple[int, int] | None:
    if data[:4] != b"RIFF":
        return None
    kind = data[12:16]
    if kind == b"VP8X":  # extended: two times 24 bits, less one
        if len(data) < 30:
            return None
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":  # lossless: two times 14 bits, less one
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":  # lossy: 14 bits each, two of scaling above them
        width, height = _pair("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: Data) -> tuple[int, int] | None:
    """Read the frame header, SOF0 to SOF15 without DHT, JPG and DAC, and count the segments up to the first scan."""
    found = None
    for marker, position in _jpeg_segments(data):
        if found is None and 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _pair(">HH", data, position + 5)
            found = width, height
    return found


def _jpeg_segments(data: Data) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment up to the first scan; filler between them counts by the byte."""
    position, count = 2, 0
    while True:
        start = data.find(b"\xff", position)
        if start < 0:
            return
        count += 1 + start - position
        if count > MOST_SEGMENTS:
            raise _too_many("JPEG", "segments", MOST_SEGMENTS)
        marker = data[start + 1]
        if marker in (0x00, 0xFF):
            position = start + 1
            continue
        if marker in (0xD9, 0xDA):
            return
        yield marker, start
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        position = start + 2 + (0 if alone else int(struct.unpack_from(">H", data, start + 2)[0]))


def _check_bmp(data: Data) -> None:
    if _pair("<II", data, 30)[0] in (1, 2) and len(data) > MOST_RLE_BYTES:
        raise TooLarge(f"a BMP with run-length coding may have {MOST_RLE_BYTES} bytes; save it as PNG")


def _check_scans(data: Data, most: int) -> None:
    # The same bytes may occur in data after the image, a film for instance, so a large number is counted again.
    if data.count(b"\xff\xda") > most and (data[:2] != b"\xff\xd8" or _jpeg_scans(data, most) > most):
        raise TooLarge(f"the JPEG has more than {most} scans; save it as baseline")


def _jpeg_scans(data: Data, most: int) -> int:
    """Count the scans up to the end of the image, at most one more than `most`."""
    position, scans = 2, 0
    while scans <= most and (found := _MARKER.search(data, position)):
        marker = found[0][1]
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        position = found.end() + int(struct.unpack_from(">H", data, found.end())[0])
    return scans


def _check_png(data: Data) -> None:
    position, count, parts, profiles = 8, 0, 0, 0
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        parts += kind == b"IDAT"
        count += kind != b"IDAT"
        profiles += kind == b"iCCP"
        if count > MOST_SEGMENTS or parts > MOST_PARTS or profiles > 1:
            raise _too_many("PNG", "chunks", MOST_SEGMENTS)
        position += 12 + length


def _check_gif(data: Data) -> None:
    """Count the blocks before the first frame: extensions, and bytes without a meaning."""
    flags = data[10]
    position, count = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0), 0
    while data[position] not in (0x2C, 0x3B):
        count += 1
        if data[position] == 0x21:
            position += 2
            while length := data[position]:
                position += 1 + length
                count += 1
                if count > MOST_SEGMENTS:
                    break
        position += 1
        if count > MOST_SEGMENTS:
            raise _too_many("GIF", "blocks", MOST_SEGMENTS)


def _tiff(data: Data) -> tuple[int, int] | None:
    found = {tag: value for tag, _, value in _tags(data)}
    return (found[_WIDTH], found[_HEIGHT]) if _WIDTH in found and _HEIGHT in found else None


def _check_tiff(data: Data, max_pixels: int) -> None:
    tags = {tag: (count, value) for tag, count, value in _tags(data)}
    wide, tall = tags.get(_TILE_WIDTH, (0, 0))[1], tags.get(_TILE_HEIGHT, (0, 0))[1]
    if wide * tall > max_pixels:
        raise TooLarge(f"a tile of the TIFF has {wide} x {tall} pixels, more than the {max_pixels} that are accepted")
    if tags.get(_COMPRESSION, (0, 0))[1] in _JPEG_IN_TIFF:
        # Each strip or tile is a JPEG of its own.
        _check_scans(data, MOST_SCANS * max((tags[tag][0] for tag in _STRIPS if tag in tags), default=1))


def _tags(data: Data) -> Iterator[tuple[int, int, int]]:
    """Yield tag, number of values and first whole number of each entry in the first directory of a TIFF or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"\x2b" in data[2:4]
    (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    (entries,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)
    if entries > MOST_SEGMENTS:
        raise _too_many("TIFF", "tags", MOST_SEGMENTS)
    entry = struct.Struct(f"{order}{'HHQ' if big else 'HHI'}")
    position = start + (8 if big else 2)
    for _ in range(entries):
        tag, kind, count = entry.unpack_from(data, position)
        position += entry.size
        yield tag, count, struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, position)[0]
        position += 8 if big else 4


def _too_many(form: str, what: str, most: int) -> TooLarge:
    return TooLarge(f"the {form} has more than {most} {what} beside its pixels; save it without metadata")


def _split(text: str) -> tuple[str, str]:
    text = text.removeprefix("\ufeff")
    if text[:5].lower() != "data:":
        return "", text
    head, comma, encoded = text[5:].partition(",")
    media_type, *parameters = (part.strip() for part in head.lower().split(";"))
    if not comma or not parameters or parameters[-1] != "base64":
        raise UnreadableInput("the data URL of the picture must end its head with ;base64,")
    if media_type and not media_type.startswith("image/"):
        raise WrongMediaType(f"the data URL holds {media_type[:100]}, not a picture")
    return media_type, encoded


_READERS: tuple[tuple[int, bytes, Callable[[Data], tuple[int, int] | None]], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", lambda data: _pair(">II", data, 16)),
    (0, b"\xff\xd8", _jpeg),
    (8, b"WEBP", _webp),
    (0, b"GIF", lambda data: _pair("<HH", data, 6)),
    (0, b"BM", _bmp),
    (0, b"II", _tiff),
    (0, b"MM", _tiff),
    (4, b"ftyp", isobmff.size_of),
)
"""Where each format has its signature, and what reads its size."""
