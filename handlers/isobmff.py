"""AVIF and HEIC files, read without a decoder: ISO base media files (ISO/IEC 14496-12), whose boxes hold pictures.

ftyp                           the brands: which decoder reads it
meta ▶ iprp ▶ ipco ▶ ispe      width and height of each picture in it (ISO/IEC 23008-12, 6.5.3)
"""

import struct
from collections.abc import Iterator

from handlers.errors import TooLarge

MOST_BOXES = 4096
"""The most boxes at one level. Phones write some hundred: one for each tile of a picture."""

Data = bytes | bytearray
_FULL = 4  # bytes of version and flags


def is_isobmff(data: Data) -> bool:
    """Return true for a file that begins with its brands, as AVIF, HEIC and films do."""
    return data[4:8] == b"ftyp"


def is_heic(data: Data) -> bool:
    """Return true for such a file without a brand of AVIF, which Pillow reads by itself."""
    if not is_isobmff(data):
        return False
    (length,) = struct.unpack_from(">I", data, 0)
    brands = bytes(data[8 : min(length, 8 + 4 * 64)])
    return not {b"avif", b"avis"} & {brands[start : start + 4] for start in range(0, len(brands), 4)}


def size_of(data: Data) -> tuple[int, int] | None:
    """Return (width, height) in pixels of the largest picture in the file; tiles and thumbnails are smaller.

    Raises TooLarge for more than 4,096 boxes, and struct.error for a file that is cut off.
    """
    found = [(0, len(data), 0)]
    for kind, header in ((b"meta", _FULL), (b"iprp", 0), (b"ipco", 0)):
        inside = [box for start, stop, skipped in found for box in _boxes(data, start + skipped, stop)]
        found = [(start, stop, header) for name, start, stop in inside if name == kind]
    sizes = [
        struct.unpack_from(">II", data, place + _FULL)
        for start, stop, _ in found
        for name, place, _ in _boxes(data, start, stop)
        if name == b"ispe"
    ]
    return max(((int(width), int(height)) for width, height in sizes), key=lambda size: size[0] * size[1], default=None)


def _boxes(data: Data, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box, and where its content begins and ends."""
    for _ in range(MOST_BOXES):
        if start + 8 > stop:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1:  # a length of 64 bits follows
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        end = stop if length == 0 else start + length
        if end < content:
            return
        yield kind, content, min(end, stop)
        start = end
    raise TooLarge(f"the picture has more than {MOST_BOXES} boxes beside its pixels; save it without metadata")
