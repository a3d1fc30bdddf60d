"""Resize and centre crop on the integer grid of torchvision's `v2.Resize` and `v2.CenterCrop`.

torchvision resizes the full image to whole numbers of pixels and then crops at a whole number. Cropping first, at any
other position, gives another image. So this module computes the same grid as torchvision. Where the crop drops much of
the grid, it resamples only the rest, from only the source pixels that it needs.

An image that is resampled whole is bit-equal to torchvision's. Elsewhere Pillow keeps the edges of the box in 32-bit
floats, so a value on the edge between two may be rounded the other way: by 1 of 255, at single values by 2. Photographs
differ at fewer than 3 values in 1,000, drawings at fewer than 10, and at most at 1 in 10, where a simple ratio of the
sizes puts many values on an edge. `tests/handlers/test_image_preprocess.py` measures and holds these bounds.

Without antialiasing the same grid is interpolated as torch does it for tensors, in 32-bit floats, rounded at the end.
Float images are resized one channel after the other, and nothing is rounded.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handlers.card import Preprocessing
from handlers.placement import PicturePlacement

# Pillow's filter, and the number of source pixels that it reads on each side at scale 1.
_FILTERS = {
    "bilinear": (Image.Resampling.BILINEAR, 1.0),
    "bicubic": (Image.Resampling.BICUBIC, 2.0),
    "lanczos": (Image.Resampling.LANCZOS, 3.0),
}

CUBIC = -0.75
"""The coefficient of torch's bicubic interpolation without antialiasing; Pillow's is -0.5."""

WHOLE = 0.75
"""The share of an axis from which skipping the cropped rest saves little and loses bit-equality."""


@dataclass(frozen=True)
class _Axis:
    """One direction: `source` pixels become `grid`, of which the middle `wanted` are kept."""

    source: int
    grid: int
    wanted: int

    @property
    def scale(self) -> float:
        return self.source / self.grid

    @property
    def kept(self) -> range:
        """Grid pixels inside the crop; torchvision rounds half of the rest as Python does, to even."""
        count = min(self.grid, self.wanted)
        first = round((self.grid - count) / 2.0)
        return range(first, first + count)

    @property
    def padding(self) -> tuple[int, int]:
        """Black pixels before and after, where the crop is larger than the grid."""
        missing = self.wanted - len(self.kept)
        return missing // 2, (missing + 1) // 2

    @property
    def resampled(self) -> range:
        """Grid pixels to compute: those kept, or all."""
        return range(self.grid) if len(self.kept) >= WHOLE * self.grid else self.kept

    @property
    def cut(self) -> slice:
        """Slice of the kept pixels among the resampled ones."""
        first = self.kept.start - self.resampled.start
        return slice(first, first + len(self.kept))

    def window(self, support: float) -> slice:
        """Source pixels that the resampled ones are made of."""
        reach = math.ceil(support * max(self.scale, 1.0)) + 1
        start = math.floor(self.resampled.start * self.scale) - reach
        stop = math.ceil(self.resampled.stop * self.scale) + reach
        return slice(max(start, 0), min(stop, self.source))

    def box(self, window: slice) -> tuple[float, float]:
        """Edges of the resampled part in source pixels, counted from the start of the window and inside of it."""
        low = self.resampled.start * self.scale - window.start
        high = self.resampled.stop * self.scale - window.start
        return max(low, 0.0), min(high, float(window.stop - window.start))

    def taps(self, interpolation: str) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Source pixels that each kept pixel is interpolated between, and their weights."""
        scale = np.float32(self.source) / np.float32(self.grid)
        centres = (np.arange(self.kept.start, self.kept.stop, dtype=np.float32) + np.float32(0.5)) * scale
        centres -= np.float32(0.5)
        if interpolation == "bilinear":
            centres = np.maximum(centres, 0)
        first = np.floor(centres)
        part = centres - first
        weights = {0: 1 - part, 1: part}
        if interpolation == "bicubic":
            weights = {-1: _far(part + 1), 0: _near(part), 1: _near(1 - part), 2: _far(2 - part)}
        places = first.astype(np.intp)
        return [(np.clip(places + step, 0, self.source - 1), weight) for step, weight in weights.items()]

    def nearest(self) -> NDArray[np.intp]:
        """Source pixel under the centre of each kept pixel.

        The centres are summed up one by one, as Pillow does: where one falls between two pixels, its rounding decides.
        """
        steps = np.full(self.kept.stop, self.scale)
        steps[0] = 0.5 * self.scale
        centres = np.cumsum(steps)[self.kept.start :]
        return np.minimum(centres.astype(np.intp), self.source - 1)


def apply(image: NDArray[Any], settings: Preprocessing, whole: tuple[int, int] | None = None) -> NDArray[Any]:
    """Resize and crop an image, [height, width, C] of any size, to [H, W, C] of `settings.size`, in its own type.

    The type is uint8, or float32 of values from 0 to 255. The network scales and normalises the values itself, in every
    format. `whole` is the size of the full image where `image` is a reduced copy of it; its grid is used.
    """
    if image.dtype == np.float32 and image.shape[2] > 1:
        padding = settings.padding or (0,) * settings.channels
        each = [replace(settings, channels=1, padding=(value,)) for value in padding]
        return np.dstack([apply(image[:, :, index : index + 1], plane, whole) for index, plane in enumerate(each)])
    sizes = image.shape[0], image.shape[1]
    kept = grid(whole or sizes, settings)
    rows, columns = (_Axis(*axis) for axis in zip(sizes, kept, settings.size, strict=True))
    if settings.interpolation == "nearest":
        result = image[np.ix_(rows.nearest(), columns.nearest())]
    elif not settings.antialias:
        result = _interpolated(image, rows, columns, settings.interpolation)
    elif isinstance(settings.resize, int) and not settings.letterbox:
        result = _resize_part(image, rows, columns, settings.interpolation)[rows.cut, columns.cut]
    else:
        result = _resize_whole(image, kept, settings.interpolation)
        result = result[rows.kept.start : rows.kept.stop, columns.kept.start : columns.kept.stop]
    if result.shape[:2] == settings.size:
        return result
    return _padded(result, rows.padding, columns.padding, settings.padding or (0,) * settings.channels)


def _interpolated(image: NDArray[Any], rows: _Axis, columns: _Axis, interpolation: str) -> NDArray[Any]:
    found = image
    for axis, each in enumerate((rows, columns)):
        shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
        parts = [np.take(found, places, axis) * weights.reshape(shape) for places, weights in each.taps(interpolation)]
        found = np.asarray(np.sum(parts, axis=0, dtype=np.float32))
    return found if image.dtype == np.float32 else np.clip(np.rint(found), 0, 255).astype(np.uint8)


def _near(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    return ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1


def _far(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    return ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC


def _padded(
    image: NDArray[Any], rows: tuple[int, int], columns: tuple[int, int], values: tuple[int, ...]
) -> NDArray[Any]:
    height, width, channels = image.shape
    found = np.empty((height + sum(rows), width + sum(columns), channels), image.dtype)
    found[:] = np.array(values, image.dtype)
    found[rows[0] : rows[0] + height, columns[0] : columns[0] + width] = image
    return found


def placement(size: tuple[int, int], settings: Preprocessing) -> PicturePlacement:
    """Return the placement of a picture of this size in the network's input that `apply` makes of it."""
    resized = grid(size, settings)
    axes = [_Axis(*axis) for axis in zip(size, resized, settings.size, strict=True)]
    down, right = (axis.padding[0] - axis.kept.start for axis in axes)
    return PicturePlacement(size, resized, (down, right), settings.size)


def grid(size: tuple[int, int], settings: Preprocessing) -> tuple[int, int]:
    """Return the size to which torchvision resizes an image of this size before it crops.

    With `letterbox`, the largest size of the same shape inside `resize`, rounded to whole pixels.
    """
    height, width = size
    if settings.letterbox:
        box = settings.resize if isinstance(settings.resize, tuple) else (settings.resize, settings.resize)
        scale = min(box[0] / height, box[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))
    if not isinstance(settings.resize, int):
        return settings.resize
    longer = int(settings.resize * max(height, width) / min(height, width))
    return (longer, settings.resize) if height >= width else (settings.resize, longer)


def _resize_whole(image: NDArray[Any], size: tuple[int, int], interpolation: str) -> NDArray[Any]:
    return _array(_picture(image).resize((size[1], size[0]), _FILTERS[interpolation][0]))


def _picture(image: NDArray[Any]) -> Image.Image:
    """Return an image of 1, 3 or 4 channels as Pillow's; a float one has one channel."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _array(picture: Image.Image) -> NDArray[Any]:
    found = np.asarray(picture)
    return found if found.ndim == 3 else found[:, :, None]


def _resize_part(image: NDArray[Any], rows: _Axis, columns: _Axis, interpolation: str) -> NDArray[Any]:
    resampling, support = _FILTERS[interpolation]
    height, width = rows.window(support), columns.window(support)
    part = _picture(np.ascontiguousarray(image[height, width]))
    left, right = columns.box(width)
    top, bottom = rows.box(height)
    wide, tall = len(columns.resampled), len(rows.resampled)
    # Values are rounded between the two directions, so they follow the order that Pillow uses for the full image.
    # In one call Pillow would choose by the box.
    if _rows_first(rows, columns):
        part = part.resize((part.width, tall), resampling, box=(0, top, part.width, bottom))
        return _array(part.resize((wide, tall), resampling, box=(left, 0, right, tall)))
    part = part.resize((wide, part.height), resampling, box=(left, 0, right, part.height))
    return _array(part.resize((wide, tall), resampling, box=(0, top, wide, bottom)))


def _rows_first(rows: _Axis, columns: _Axis) -> bool:
    """Return true where Pillow resizes the rows of the full image before its columns, dropping far more of them."""
    return rows.grid < rows.source and rows.source - rows.grid > 2 * (columns.source - columns.grid)
