"""Inputs that work, for the documentation: a picture small enough to print, made here so that its origin is plain."""

import base64
import struct
import zlib

# An 8 by 8 handwritten one, 0 (black) to 9 (white).
_ROWS = ("00007000", "00079000", "00799000", "07099000", "00099000", "00099000", "00099000", "00799700")


def png(rows: tuple[str, ...] = _ROWS) -> bytes:
    """An 8-bit greyscale PNG; each row a string of digits, 0 black to 9 white."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    pixels = b"".join(b"\0" + bytes(int(digit) * 255 // 9 for digit in row) for row in rows)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PICTURE = png()
PICTURE_BASE64 = base64.b64encode(PICTURE).decode()
