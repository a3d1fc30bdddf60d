"""Picture files written byte by byte, of kinds that Pillow writes in one way only or not at all."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(
    width: int, height: int, depth: int, colour: int, pixels: bytes, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Return a PNG of these packed rows, with chunks in front of its pixels and behind them."""
    row = len(pixels) // height
    rows = b"".join(b"\0" + pixels[start : start + row] for start in range(0, len(pixels), row))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + before + data + after + chunk(b"IEND", b"")


def flat_png(width: int, height: int) -> bytes:
    """Return a black PNG of one bit a pixel: some hundred bytes whatever its size."""
    return png_file(width, height, 1, 0, bytes((width + 7) // 8 * height))


def tiff_file(
    width: int, height: int, bits: int, data: bytes, tags: dict[int, int] | None = None, big: bool = False
) -> bytes:
    """Return an uncompressed grey TIFF of one strip; `tags` are added or take the place of others."""
    order = ">" if big else "<"
    found = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: 1, 278: height, 279: len(data)} | (tags or {})
    where = 8 + 2 + 12 * (len(found) + 1) + 4
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted((found | {273: where}).items())
    )
    magic = (b"MM" if big else b"II") + struct.pack(f"{order}H", 42)
    return magic + struct.pack(f"{order}IH", 8, len(found) + 1) + entries + bytes(4) + data


def jpeg_file(size: tuple[int, int], **options: Any) -> bytes:
    """Return a grey JPEG."""
    buffer = io.BytesIO()
    Image.new("L", size, 77).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_scans(count: int, side: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    data = jpeg_file((side, side), progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * count + data[-2:]


def gif_file(before: bytes) -> bytes:
    """Return a small GIF with these blocks in front of its frame."""
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    data = buffer.getvalue()
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return data[:start] + before + data[start:]


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """Return a BMP of 8 bits in run-length coding."""
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    start = 14 + 40 + len(palette)
    head = struct.pack("<IHHI", start + len(runs), 0, 0, start)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 256)
    return b"BM" + head + palette + runs


def packed(values: Sequence[int], form: str) -> bytes:
    """Pack numbers, `form` is struct's: >H, <I, <f."""
    return struct.pack(f"{form[0]}{len(values)}{form[1]}", *values)
