"""Grey images of more than 8 bits: value / white, as 8 bits or as floats.

White is the largest value of the file's bits, or the model card's value; numbers of 32 bits have no other definition.
Pillow reads the high byte alone of colours with 16 bits a channel, so those cannot be had as floats.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from handlers.errors import InvalidFields

# Tags of TIFF 6.0; photometric 0: the smallest value is white.
_READ_TAGS = _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED = 2
_ROWS = 256
WHITE = 255.0
"""The value of white in float images, as in those of 8 bits."""


def is_deep(image: Image.Image) -> bool:
    """Return true for a grey image of more than 8 bits. Raises InvalidFields for signed numbers of 8 bits."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return True
    if _SIGNED in (_tags(image).get(_SAMPLE_FORMAT) or ()):
        raise InvalidFields("a TIFF of signed 8-bit numbers is not supported; send unsigned ones")
    return False


def check_colours(image: Image.Image, data: bytes | bytearray) -> None:
    """Raise InvalidFields for colours of more than 8 bits a channel."""
    bits = data[24] if image.format == "PNG" else max(_tags(image).get(_BITS) or (8,))
    if bits > 8:
        raise InvalidFields(f"colours of {bits} bits a channel are read as 8 bits; send grey, or numbers in JSON")


def eight_bits(image: Image.Image, stated: float | None) -> Image.Image:
    """Scale a grey image to 8 bits by the value of white, and keep one transparent value."""
    values, white = _checked(image, stated)
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):  # in parts, because each number takes eight bytes here
        part = slice(start, start + _ROWS)
        grey[part] = np.floor(values[part] * WHITE / white + 0.5)
    if _tags(image).get(_PHOTOMETRIC) == 0:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if transparent is None:
        return Image.fromarray(grey)
    opaque = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(opaque)))


def floats(image: Image.Image, stated: float | None) -> Image.Image:
    """Scale a grey image to floats by the value of white. Raises InvalidFields for a transparent one."""
    if image.info.get("transparency") is not None:
        raise InvalidFields("a grey picture of more than 8 bits must not be transparent here; send one without")
    values, white = _checked(image, stated)
    grey = (values * (WHITE / white)).astype(np.float32)
    return Image.fromarray(WHITE - grey if _tags(image).get(_PHOTOMETRIC) == 0 else grey)


def _checked(image: Image.Image, stated: float | None) -> tuple[NDArray[Any], float]:
    white = stated if stated is not None else _white(image)
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # nan included
        raise InvalidFields(f"the picture's values range from {low:g} to {high:g}, outside 0 to {white:g}")
    return values, white


def _white(image: Image.Image) -> float:
    """Return the largest value of the file's bits: 16 in a PNG, perhaps fewer in a TIFF."""
    if image.mode in ("I", "F"):
        raise InvalidFields(
            "a grey picture of 32-bit or signed numbers does not define which of them is white: "
            "send 8 or 16 bits, or build the model with preprocessing.white"
        )
    bits = _tags(image).get(_BITS) or (16,)
    return float(2 ** int(bits[0]) - 1)


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return {tag: image.tag_v2.get(tag) for tag in _READ_TAGS} if isinstance(image, TiffImageFile) else {}
