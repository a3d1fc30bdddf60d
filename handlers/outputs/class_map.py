"""Class maps, one class number a pixel: their files, and how far two of them agree. The gateway reads them too.

PNG  8 bits of grey, or 16 where there are more classes; the value is the class's number, and the largest value of the
     bits stands for pixels that the network has not seen. Rows are not filtered, so that they can be read without an
     image library.
RLE  COCO's uncompressed run lengths: of each class, the pixels of a column after another, first those outside.
"""

import base64
import struct
import sys
import zlib
from array import array
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the gateway has no numpy
    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEVEL = 1  # regions are so regular that higher levels of zlib save little and take several times as long


def unseen(classes: int) -> int:
    """Return the value of pixels that the network has not seen, in a map of this many classes."""
    return 255 if classes < 256 else 65535


def png(values: "NDArray[Any]") -> bytes:
    """Return a map, uint8 or uint16 [height, width], as a file."""
    import numpy as np

    height, width = values.shape
    size = values.dtype.itemsize
    rows = np.zeros((height, 1 + width * size), dtype=np.uint8)
    rows[:, 1:] = values.astype(values.dtype.newbyteorder(">"), copy=False).view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8 * size, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, _LEVEL)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def png_pixels(text: str) -> "array[int]":
    """Return the values of a file in base64 that `png` wrote, row after row. Raises ValueError for any other."""
    data = base64.b64decode(text, validate=True)
    if not data.startswith(_SIGNATURE + b"\0\0\0\x0dIHDR") or data[37:41] != b"IDAT":
        raise ValueError("not a class map")
    width, height, bits, *form = struct.unpack(">IIBBBBB", data[16:29])
    if bits not in (8, 16) or any(form):
        raise ValueError("not a class map")
    try:
        rows = zlib.decompress(data[41 : 41 + int.from_bytes(data[33:37])])
    except zlib.error as error:
        raise ValueError(f"not a class map: {error}") from None
    line = 1 + width * bits // 8
    pixels = array("B" if bits == 8 else "H", b"".join(rows[at + 1 : at + line] for at in range(0, len(rows), line)))
    if len(pixels) != height * width:
        raise ValueError("not a class map")
    if bits == 16 and sys.byteorder == "little":
        pixels.byteswap()
    return pixels


def rle(values: "NDArray[Any]") -> dict[int, list[int]]:
    """Return the run lengths of each class in a map [height, width]."""
    import numpy as np

    pixels = values.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    ends = np.append(starts[1:], pixels.size)
    numbers = pixels[starts]
    found = {}
    for number in np.unique(numbers).tolist():
        runs = np.stack([starts[numbers == number], ends[numbers == number]], axis=1).ravel()
        counts = np.diff(runs, prepend=0, append=pixels.size).tolist()
        found[number] = counts if counts[-1] else counts[:-1]
    return found


def rle_pixels(masks: Mapping[str, list[int]], numbers: Mapping[str, int], size: int, step: int) -> "array[int]":
    """Return every `step`th value of run lengths, column after column: the numbers of their classes.

    The largest value stands for pixels of no class. Raises ValueError for run lengths of another picture.
    """
    runs = sorted(
        (end - length, end, numbers[name])
        for name, counts in masks.items()
        for end, length in [*zip(accumulate(counts), counts, strict=True)][1::2]
    )
    values = array("B" if len(numbers) < 256 else "H")
    missing = array(values.typecode, [unseen(len(numbers))])
    at = 0
    for start, end, number in [*runs, (size, size, 0)]:
        if not at <= start <= end <= size:
            raise ValueError("not the run lengths of this picture")
        values.extend(missing * (_steps(start, step) - _steps(at, step)))
        values.extend(array(values.typecode, [number]) * (_steps(end, step) - _steps(start, step)))
        at = end
    return values


def step_of(size: int, most: int) -> int:
    """Return the step that leaves about `most` of a map's pixels and does not run down a few of its columns."""
    step = max(1, -(-size // most))
    while step > 1 and size % step == 0:
        step += 1
    return step


def overlaps(one: "array[int]", other: "array[int]") -> dict[int, tuple[int, int]]:
    """Return for each value of two maps of one size the pixels that have it in both, and those in either."""
    masks = _masks(one), _masks(other)
    found = {}
    for value in {*masks[0], *masks[1]}:
        left, right = (each.get(value, 0) for each in masks)
        found[value] = (left & right).bit_count(), (left | right).bit_count()
    return found


def _steps(end: int, step: int) -> int:
    """Return how many multiples of `step` lie below `end`."""
    return -(-end // step)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _masks(pixels: "array[int]") -> dict[int, int]:
    """Return for each value a number with a byte for each pixel, 1 where it has the value; ints count bits quickly."""
    data = pixels.tobytes()
    if pixels.itemsize == 1:
        return {value: _mask(data, value) for value in set(data)}
    halves = data[::2], data[1::2]
    first, second = ({value: _mask(half, value) for value in set(half)} for half in halves)
    both = {int.from_bytes((low, high), sys.byteorder): first[low] & second[high] for low in first for high in second}
    return {value: mask for value, mask in both.items() if mask}


def _mask(data: bytes, value: int) -> int:
    return int.from_bytes(data.translate(bytes(each == value for each in range(256))), "little")
