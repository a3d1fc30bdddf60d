"""Picture bytes → RGB, upright: one full decode, exactly the picture that Pillow's `convert("RGB")` shows.

Pillow reads the header: format, size, orientation. The pixels of ordinary JPEGs come from simplejpeg, whose
libjpeg-turbo gives the same values in less time; all others, and every JPEG it hesitates about, come from Pillow.

Where the card allows it, ordinary JPEGs are read at a half, a quarter or an eighth of their size, which libjpeg does
inside its cosine transform. That is another picture than the whole one resized, so an archive has to earn it.
"""

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from handlers.card import Reduced
from handlers.errors import TooLarge, UnreadableInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_SIDE = 65_535
"""Longest side in pixels: JPEG's own limit. Longer ones are threads whose resampling needs gigabytes."""

# What Pillow's plugins raise on files that are cut short or damaged.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)

# EXIF orientation → how to turn the stored picture upright (Exif 2.3, table 6).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


SIDEWAYS = frozenset(orientation for orientation in _UPRIGHT if orientation >= 5)

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Reduction:
    """A reduced decode: its level, and the size of the resized whole picture before the crop, given the picture's."""

    level: Reduced
    grid: Callable[[Size], Size]

    def least(self, height: int, width: int) -> Size:
        """Smallest size at which a picture of this size may be read."""
        rows, columns = self.grid((height, width))
        return min(height, self.level.margin * rows), min(width, self.level.margin * columns)


def decode(data: bytes | bytearray, max_pixels: int) -> NDArray[np.uint8]:
    """Decode the first frame of a picture to uint8 [height, width, 3], RGB, turned as its EXIF orientation says.

    Raises TooLarge before decoding, UnreadableInput for what is empty, truncated, damaged or no picture.
    """
    return decode_reduced(data, max_pixels, None)[0]


def decode_reduced(
    data: bytes | bytearray, max_pixels: int, reduction: Reduction | None
) -> tuple[NDArray[np.uint8], Size]:
    """Decode like `decode`, ordinary JPEGs at reduced size; the second part is the size that the whole picture has."""
    if not data:
        raise UnreadableInput("the picture is empty")
    # Pillow's warnings about a client's file (odd EXIF, large size) are no news to the operator.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(data) as image:
            _check_size(image.width, image.height, max_pixels)
            pixels = _decode_jpeg(data, image, reduction) if image.format in ("JPEG", "MPO") else None
            if pixels is None:
                pixels = _decode_any(image)
                return pixels, (pixels.shape[0], pixels.shape[1])
            return pixels, _turned(image.height, image.width, _orientation(image))


def from_values(values: NDArray[np.float64], max_pixels: int) -> NDArray[np.uint8]:
    """Turn numbers of shape [height, width] or [height, width, 3] into a picture; raises ValueError or TooLarge."""
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)):
        raise ValueError(f"shape {list(values.shape)} is neither [height, width] nor [height, width, 3]")
    if values.size == 0:
        raise ValueError("the picture is empty")
    _check_size(values.shape[1], values.shape[0], max_pixels)
    if values.min() < 0 or values.max() > 255 or np.any(values % 1):
        raise ValueError("pixel values must be whole numbers from 0 to 255")
    pixels = values.astype(np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _open(data: bytes | bytearray) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise TooLarge("the picture has too many pixels") from None
    except _DAMAGED:
        raise UnreadableInput("not a picture that can be read; JPEG, PNG, WebP, GIF, BMP and TIFF can") from None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise UnreadableInput("the picture is empty")
    if width * height > max_pixels:
        raise TooLarge(f"the picture has {width} x {height} pixels, more than the {max_pixels} allowed")
    if max(width, height) > MAX_SIDE:
        raise TooLarge(f"the picture has {width} x {height} pixels; a side may have {MAX_SIDE}")


def _decode_jpeg(data: bytes | bytearray, image: Image.Image, reduction: Reduction | None) -> NDArray[np.uint8] | None:
    """Decode with simplejpeg what both readers see the same way; None leaves the picture to Pillow."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != image.size or colorspace not in ("YCbCr", "Gray", "RGB"):
            return None
        orientation = _orientation(image)
        options = {} if reduction is None else _options(reduction, height, width, orientation)
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", **options)
    except ValueError:
        return None
    turn = _UPRIGHT.get(orientation)
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def _options(reduction: Reduction, height: int, width: int, orientation: int) -> dict[str, bool | int]:
    least = _turned(*reduction.least(*_turned(height, width, orientation)), orientation)
    level = reduction.level
    # simplejpeg takes the smallest size that is not below these.
    size = {"min_height": least[0], "min_width": least[1]}
    return size | {"fastdct": level.fast_transform, "fastupsample": level.fast_upsampling}


def _turned(height: int, width: int, orientation: int) -> Size:
    """Size of a stored picture as it is seen, and of a seen one as it is stored."""
    return (width, height) if orientation in SIDEWAYS else (height, width)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGED:
        return 1  # a broken tag does not spoil the picture


def _decode_any(image: Image.Image) -> NDArray[np.uint8]:
    try:
        image.load()
    except Image.DecompressionBombError:
        raise TooLarge("the picture has too many pixels") from None
    except _DAMAGED:
        raise UnreadableInput("the picture is truncated or damaged") from None
    # Transparency is dropped by convert("RGB") either way; its table only makes Pillow warn.
    image.info.pop("transparency", None)
    return np.asarray(_upright(_eight_bits(image).convert("RGB"), _orientation(image)))


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keep the high byte of 16-bit grey, where convert("RGB") would turn nearly everything white."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
