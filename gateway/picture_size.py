"""Width and height of a picture from its first bytes, without decoding it: a few bytes can announce gigabytes."""

import struct

from errors import TooLarge
from gateway.forms import JSON, Payload


def check_pixels(payload: Payload, limit: int) -> None:
    """Raises TooLarge when the picture announces more than `limit` pixels. Formats not known here pass."""
    if payload.content_type == JSON:
        return
    size = size_of(payload.data)
    if size is not None and size[0] * size[1] > limit:
        raise TooLarge(f"the picture has {size[0]} x {size[1]} pixels, more than the {limit} that are accepted")


def size_of(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels of a PNG, GIF, WebP, BMP or JPEG; None for anything else or too short."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _pair(">II", data, 16)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return _pair("<HH", data, 6)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)
            return abs(width), abs(height)
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
    except (struct.error, IndexError):
        pass  # cut short in its header: the handler says so
    return None


def _pair(form: str, data: bytes, position: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, data, position)
    return int(first), int(second)


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":  # extended: two times 24 bits, less one
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":  # lossless: two times 14 bits, less one
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":  # lossy: 14 bits each, two of scaling above them
        width, height = _pair("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Walks the segments up to the frame header (SOF0 to SOF15, without DHT, JPG and DAC)."""
    position = 2
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # filling
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _pair(">HH", data, position + 5)
            return width, height
        if marker in (0xD9, 0xDA):
            return None
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        position += 2 if alone else 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return None
