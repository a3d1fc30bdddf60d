"""Image bytes → 8-bit RGB, opaque and upright, by one full decode.

Pillow reads the header: format, size, orientation. simplejpeg decodes the pixels of ordinary JPEGs, because its
libjpeg-turbo gives the same values in less time. Pillow decodes all other files, and the JPEGs that simplejpeg refuses.

Images without 8-bit RGB follow these rules:

    transparent    pasted on the background before resizing, so that hidden colours do not affect the result
    grey, 9 to 16  value / white x 255, rounded; white is the largest value of the file's bits, or the card's value
    grey, 32       the same with the card's white, which may be 1.0; refused where the card has none
    colour, 16     the high byte of each channel, as Pillow reads it; refused where floats are wanted
    CMYK, YCCK     Pillow's conversion without a colour profile; L*a*b* by LittleCMS; embedded profiles are not applied
    several        the first frame or page
    HEIC           by pillow-heif, where it is installed

With `dtype` float32 the result has values from 0 to 255 too, but those of deep grey images are not rounded.

Where the card allows it, ordinary JPEGs are decoded at a half, a quarter or an eighth of their size, inside libjpeg's
cosine transform. The result differs from the full image resized, so the build of an archive has to measure it first.
"""

import functools
import io
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from handlers import deep_image, encoded_image, isobmff
from handlers.card import Reduced
from handlers.errors import InvalidFields, TooLarge, UnreadableInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
HEIC = "pip install -r requirements-heic.txt"
MAX_SIDE = 65_535
"""The longest side in pixels, JPEG's own limit. Thin images beyond it need gigabytes to resample."""

# Errors of Pillow's plugins on files that are cut off or damaged.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)

_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# ITU-R 601-2, as Pillow makes grey of RGB.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# EXIF orientation → the transposition that turns the stored image upright (Exif 2.3, table 6).
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
class DecodeRules:
    """The rules of decoding: the most pixels, the colour behind transparent images, and the value of white.

    `background` is RGB; None refuses transparent images. `white` applies to grey images of more than 8 bits; None takes
    it from the format. `channels` are 3 (RGB), 1 (grey, by Pillow's weights of ITU-R 601) or 4 (RGBA, with its alpha).
    `dtype` is uint8 or float32.
    """

    max_pixels: int
    background: tuple[int, int, int] | None = (255, 255, 255)
    white: float | None = None
    channels: int = 3
    dtype: str = "uint8"


@dataclass(frozen=True)
class Reduction:
    """A reduced decode: its level, and a function from an image's size to its resized size before the crop."""

    level: Reduced
    grid: Callable[[Size], Size]

    def least(self, height: int, width: int) -> Size:
        """Return the smallest size at which an image of this size may be decoded."""
        rows, columns = self.grid((height, width))
        return min(height, self.level.margin * rows), min(width, self.level.margin * columns)


def decode(data: bytes | bytearray, rules: DecodeRules) -> NDArray[Any]:
    """Decode the first frame of an image to [height, width, channels] of `rules.dtype`, turned by its EXIF orientation.

    Raises TooLarge before decoding, UnreadableInput for data that is empty, truncated, damaged or no image, and
    InvalidFields where the file does not define the value of white.
    """
    return decode_reduced(data, rules, None)[0]


def decode_reduced(
    data: bytes | bytearray, rules: DecodeRules, reduction: Reduction | None
) -> tuple[NDArray[Any], Size]:
    """Decode like `decode`, ordinary JPEGs at reduced size; also return the size of the full image."""
    with _opened(data, rules) as image:
        pixels: NDArray[Any] | None = None
        if image.format in ("JPEG", "MPO"):
            pixels = _decode_jpeg(data, image, reduction)
        if pixels is None:
            pixels = in_channels(np.asarray(_flat(image, data, rules)), rules.channels)
            return pixels.astype(rules.dtype, copy=False), (pixels.shape[0], pixels.shape[1])
        pixels = in_channels(pixels, rules.channels).astype(rules.dtype, copy=False)
        return pixels, _turned(image.height, image.width, _orientation(image))


def in_channels(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Convert grey [height, width], RGB or RGBA [height, width, 3 or 4] to this number of channels.

    New alpha is opaque.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 1 if channels == 1 else 3, axis=2)
    if channels == 1 and pixels.shape[2] > 1:
        if pixels.dtype != np.uint8:
            return (pixels[:, :, :3] @ _LUMA)[:, :, None]
        return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    if channels == 4 and pixels.shape[2] == 3:
        return np.dstack([pixels, np.full(pixels.shape[:2], 255, pixels.dtype)])
    return pixels


def decode_with_pillow(data: bytes | bytearray, rules: DecodeRules) -> tuple[Image.Image, ...]:
    """Decode like `decode`, every format with Pillow alone; the reference for simplejpeg's pixels.

    Return one image, or for floats, of which Pillow's images have one channel, one a channel.
    """
    with _opened(data, rules) as image:
        flat = _flat(image, data, rules)
    if rules.dtype == "uint8":
        return (flat.convert({1: "L", 3: "RGB", 4: "RGBA"}[rules.channels]),)
    pixels = in_channels(np.asarray(flat), rules.channels).astype(np.float32)
    return tuple(Image.fromarray(np.ascontiguousarray(pixels[:, :, channel])) for channel in range(rules.channels))


def from_values(values: NDArray[np.float64], rules: DecodeRules) -> NDArray[Any]:
    """Convert numbers of shape [height, width] or [height, width, channels] to an image of `rules.channels`.

    RGB is accepted for any number of channels. For float32, they are from 0 to `rules.white`, or to 255. Raises
    ValueError or TooLarge.
    """
    channels, exact = rules.channels, rules.dtype == "float32"
    white = (rules.white or deep_image.WHITE) if exact else deep_image.WHITE
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, channels))):
        raise ValueError(f"shape {list(values.shape)} is neither [height, width] nor [height, width, {channels}]")
    if values.size == 0:
        raise ValueError("the picture is empty")
    _check_size(values.shape[1], values.shape[0], rules.max_pixels)
    if not (values.min() >= 0 and values.max() <= white) or (not exact and np.any(values % 1)):
        raise ValueError(f"pixel values must be {'' if exact else 'whole '}numbers from 0 to {white:g}")
    return in_channels((values * (deep_image.WHITE / white)).astype(rules.dtype), channels)


@contextmanager
def _opened(data: bytes | bytearray, rules: DecodeRules) -> Iterator[Image.Image]:
    """Open an image whose header and structure are within the limits."""
    if not data:
        raise UnreadableInput("the picture is empty")
    size = encoded_image.size_of(data)
    if size is not None:
        _check_size(*size, rules.max_pixels)
    encoded_image.check_structure(data, rules.max_pixels)
    with warnings.catch_warnings():
        # Operators do not need warnings about a client's file (odd EXIF, broken tags).
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # Raise Pillow's own limit where this one is higher.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, rules.max_pixels)
        with _open(data) as image:
            # The limits were checked against the announced size, so nothing larger is decoded.
            if size is None or image.width * image.height > size[0] * size[1]:
                raise UnreadableInput("the picture is larger than its header says")
            yield image


def _open(data: bytes | bytearray) -> Image.Image:
    formats: tuple[str, ...] = FORMATS
    if isobmff.is_heic(data):
        formats = _heic()
        if not formats:
            raise UnreadableInput(f"HEIC needs pillow-heif where the workers run ({HEIC}); send JPEG or PNG")
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except _BOMBS:
        raise TooLarge("the picture has too many pixels") from None
    except _DAMAGED:
        raise UnreadableInput("not a picture that can be read; JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF can") from None


@functools.cache
def _heic() -> tuple[str, ...]:
    """Register the optional reader of HEIC and return Pillow's name of the format; () where it is not installed."""
    try:
        import pillow_heif
    except ModuleNotFoundError:
        return ()
    pillow_heif.register_heif_opener(thumbnails=False)
    return ("HEIF",)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise UnreadableInput("the picture is empty")
    if width * height > max_pixels:
        raise TooLarge(f"the picture has {width} x {height} pixels, more than the {max_pixels} allowed")
    if max(width, height) > MAX_SIDE:
        raise TooLarge(f"the picture has {width} x {height} pixels; a side may have {MAX_SIDE}")


def _decode_jpeg(data: bytes | bytearray, image: Image.Image, reduction: Reduction | None) -> NDArray[np.uint8] | None:
    """Decode with simplejpeg where both decoders agree on the header; None leaves the image to Pillow."""
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
    # simplejpeg selects the smallest size that is not below these.
    size = {"min_height": least[0], "min_width": least[1]}
    return size | {"fastdct": level.fast_transform, "fastupsample": level.fast_upsampling}


def _turned(height: int, width: int, orientation: int) -> Size:
    """Convert between the size of an image as stored and as displayed, in either direction."""
    return (width, height) if orientation in SIDEWAYS else (height, width)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGED:
        return 1  # a broken tag does not make the image unreadable


def _flat(image: Image.Image, data: bytes | bytearray, rules: DecodeRules) -> Image.Image:
    """Return an image as RGB, or RGBA for four channels, upright; a deep grey one as floats where those are wanted."""
    exact = rules.dtype == "float32"
    try:
        image.load()
        deep = deep_image.is_deep(image)
        if exact and not deep:
            deep_image.check_colours(image, data)
    except _BOMBS:
        raise TooLarge("the picture has too many pixels") from None
    except _DAMAGED:
        raise UnreadableInput("the picture is truncated or damaged") from None
    orientation = _orientation(image)
    if deep:
        image = deep_image.floats(image, rules.white) if exact else deep_image.eight_bits(image, rules.white)
    elif image.format == "PNG" and "transparency" in image.info:
        _correct_transparency(image, depth=data[24])
    if deep and exact:
        flat = image
    elif rules.channels == 4:
        flat = image.convert("RGBA")
    else:
        flat = _opaque(image, rules.background) if image.has_transparency_data else image.convert("RGB")
    turn = _UPRIGHT.get(orientation)
    return flat if turn is None else flat.transpose(turn)


def _opaque(image: Image.Image, background: tuple[int, int, int] | None) -> Image.Image:
    """Paste an image on a background."""
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
    """Convert the transparent colour of a PNG to the scale of its decoded pixels, which Pillow does not do."""
    colour = image.info["transparency"]
    if image.mode == "RGB" and depth == 16:
        raise InvalidFields("a PNG of 16-bit colours with one transparent colour is not supported; send 8 bits")
    if image.mode == "L" and depth < 8:
        image.info["transparency"] = colour * 255 // (2**depth - 1)
