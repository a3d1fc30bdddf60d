"""Picture bytes → 8-bit RGB, opaque and upright: one full decode.

Pillow reads the header: format, size, orientation. The pixels of ordinary JPEGs come from simplejpeg, whose
libjpeg-turbo gives the same values in less time; all others, and every JPEG it hesitates about, come from Pillow.

What has no 8-bit RGB of its own follows these rules:

    transparent    laid on the background, before anything is resized: hidden colours do not count, nor bleed in
    grey, 9 to 16  value / white x 255, rounded; white is the largest value of the file's bits, or what the card states
    grey, 32       the same with the card's white, which may be 1.0; refused where the card states none
    colour, 16     the high byte of each channel, as Pillow reads it
    CMYK, YCCK     Pillow's conversion without a colour profile; L*a*b* by LittleCMS; embedded profiles are not applied
    several        the first frame or page

Where the card allows it, ordinary JPEGs are read at a half, a quarter or an eighth of their size, which libjpeg does
inside its cosine transform. That is another picture than the whole one resized, so an archive has to earn it.
"""

import io
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from handlers import picture_header
from handlers.card import Reduced
from handlers.errors import InvalidFields, TooLarge, UnreadableInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_SIDE = 65_535
"""Longest side in pixels: JPEG's own limit. Longer ones are threads whose resampling needs gigabytes."""

# What Pillow's plugins raise on files that are cut short or damaged.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)

_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# Tags of TIFF 6.0; photometric 0: the smallest value is white.
_READ_TAGS = _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED = 2
_ROWS = 256

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
class Rules:
    """How pictures are read: the most pixels, what lies behind transparent ones, and the value that is white.

    `background` is RGB, None refuses transparent pictures. `white` is of grey pictures with more than 8 bits; None
    takes what the format says.
    """

    max_pixels: int
    background: tuple[int, int, int] | None = (255, 255, 255)
    white: float | None = None


@dataclass(frozen=True)
class Reduction:
    """A reduced decode: its level, and the size of the resized whole picture before the crop, given the picture's."""

    level: Reduced
    grid: Callable[[Size], Size]

    def least(self, height: int, width: int) -> Size:
        """Smallest size at which a picture of this size may be read."""
        rows, columns = self.grid((height, width))
        return min(height, self.level.margin * rows), min(width, self.level.margin * columns)


def decode(data: bytes | bytearray, rules: Rules) -> NDArray[np.uint8]:
    """Decode the first frame of a picture to uint8 [height, width, 3], RGB, turned as its EXIF orientation says.

    Raises TooLarge before decoding, UnreadableInput for what is empty, truncated, damaged or no picture, InvalidFields
    where the file does not say which value is white.
    """
    return decode_reduced(data, rules, None)[0]


def decode_reduced(
    data: bytes | bytearray, rules: Rules, reduction: Reduction | None
) -> tuple[NDArray[np.uint8], Size]:
    """Decode like `decode`, ordinary JPEGs at reduced size; the second part is the size that the whole picture has."""
    with _opened(data, rules) as image:
        pixels = _decode_jpeg(data, image, reduction) if image.format in ("JPEG", "MPO") else None
        if pixels is None:
            pixels = np.asarray(_shown(image, data, rules))
            return pixels, (pixels.shape[0], pixels.shape[1])
        return pixels, _turned(image.height, image.width, _orientation(image))


def shown(data: bytes | bytearray, rules: Rules) -> Image.Image:
    """Decode like `decode`, every format with Pillow alone; the reference for what simplejpeg decodes."""
    with _opened(data, rules) as image:
        return _shown(image, data, rules)


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


@contextmanager
def _opened(data: bytes | bytearray, rules: Rules) -> Iterator[Image.Image]:
    """Open a picture whose header and structure keep to the limits."""
    if not data:
        raise UnreadableInput("the picture is empty")
    size = picture_header.size_of(data)
    if size is not None:
        _check_size(*size, rules.max_pixels)
    picture_header.check(data, rules.max_pixels)
    with warnings.catch_warnings():
        # Pillow's warnings about a client's file (odd EXIF, broken tags) are no news to the operator.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # Pillow's limit makes way where this one is higher.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, rules.max_pixels)
        with _open(data) as image:
            # What was announced has been counted with the rest of the request, so nothing larger is decoded.
            if size is None or image.width * image.height > size[0] * size[1]:
                raise UnreadableInput("the picture is larger than its header says")
            yield image


def _open(data: bytes | bytearray) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except _BOMBS:
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


def _shown(image: Image.Image, data: bytes | bytearray, rules: Rules) -> Image.Image:
    try:
        image.load()
        tags = {tag: image.tag_v2.get(tag) for tag in _READ_TAGS} if isinstance(image, TiffImageFile) else {}
    except _BOMBS:
        raise TooLarge("the picture has too many pixels") from None
    except _DAMAGED:
        raise UnreadableInput("the picture is truncated or damaged") from None
    orientation = _orientation(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _scaled(image, tags, rules.white)
    elif _SIGNED in (tags.get(_SAMPLE_FORMAT) or ()):
        raise InvalidFields("a TIFF of signed 8-bit numbers is not read; send unsigned ones")
    elif image.format == "PNG" and "transparency" in image.info:
        _correct_transparency(image, depth=data[24])
    flat = _opaque(image, rules.background) if image.has_transparency_data else image.convert("RGB")
    turn = _UPRIGHT.get(orientation)
    return flat if turn is None else flat.transpose(turn)


def _opaque(image: Image.Image, background: tuple[int, int, int] | None) -> Image.Image:
    """Lay a picture on a background."""
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    if background is None:
        raise InvalidFields("the picture is transparent; send one without an alpha channel")
    flat = Image.new("RGB", image.size, background)
    flat.paste(image, mask=alpha)
    return flat


def _correct_transparency(image: Image.Image, depth: int) -> None:
    """Bring the one transparent colour of a PNG to the scale of its decoded pixels, which Pillow leaves to others."""
    colour = image.info["transparency"]
    if image.mode == "RGB" and depth == 16:
        raise InvalidFields("a PNG of 16-bit colours with one transparent colour is not read; send 8 bits")
    if image.mode == "L" and depth < 8:
        image.info["transparency"] = colour * 255 // (2**depth - 1)


def _scaled(image: Image.Image, tags: Mapping[int, Any], stated: float | None) -> Image.Image:
    """Scale a grey picture of more than 8 bits to 8, by the value that is white; one transparent value is kept."""
    white = stated if stated is not None else _white(image, tags)
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # nan included
        raise InvalidFields(f"the picture's values reach from {low:g} to {high:g}, outside of 0 to {white:g}")
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):  # in parts: a number here takes eight bytes
        part = slice(start, start + _ROWS)
        grey[part] = np.floor(values[part] * 255.0 / white + 0.5)
    if tags.get(_PHOTOMETRIC) == 0:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if transparent is None:
        return Image.fromarray(grey)
    opaque = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(opaque)))


def _white(image: Image.Image, tags: Mapping[int, Any]) -> float:
    """Return the largest value of the bits that the file declares: a PNG's are 16, a TIFF may have fewer."""
    if image.mode in ("I", "F"):
        raise InvalidFields(
            "a grey picture of 32-bit or signed numbers does not say which of them is white: "
            "send 8 or 16 bits, or build the model with preprocessing.white"
        )
    bits = tags.get(_BITS) or (16,)
    return float(2 ** int(bits[0]) - 1)
