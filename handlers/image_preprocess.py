"""Resize and centre crop on the integer grid of torchvision's `v2.Resize` and `v2.CenterCrop`, antialiased.

torchvision resizes the full image to whole numbers of pixels and then crops at a whole number. Cropping first, at any
other position, gives another image. So this module computes the same grid as torchvision. Where the crop drops much of
the grid, it resamples only the rest, from only the source pixels that it needs.

An image that is resampled whole is bit-equal to torchvision's. Elsewhere Pillow keeps the edges of the box in 32-bit
floats, so a value on the edge between two may be rounded the other way: by 1 of 255, at single values by 2. Photographs
differ at fewer than 3 values in 1,000, drawings at fewer than 10, and at most at 1 in 10, where a simple ratio of the
sizes puts many values on an edge. `tests/handlers/test_image_preprocess.py` measures and holds these bounds.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handlers.card import Preprocessing

# Pillow's filter, and the number of source pixels that it reads on each side at scale 1.
_FILTERS = {"bilinear": (Image.Resampling.BILINEAR, 1.0), "bicubic": (Image.Resampling.BICUBIC, 2.0)}

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

    def nearest(self) -> NDArray[np.intp]:
        """Source pixel under the centre of each kept pixel.

        The centres are summed up one by one, as Pillow does: where one falls between two pixels, its rounding decides.
        """
        steps = np.full(self.kept.stop, self.scale)
        steps[0] = 0.5 * self.scale
        centres = np.cumsum(steps)[self.kept.start :]
        return np.minimum(centres.astype(np.intp), self.source - 1)


def apply(image: NDArray[np.uint8], settings: Preprocessing, whole: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Resize and crop an image, uint8 [height, width, 3] of any size, to uint8 [H, W, 3] of `settings.size`.

    The network scales and normalises the values itself, in every format. `whole` is the size of the full image where
    `image` is a reduced copy of it; its grid is used.
    """
    sizes = image.shape[0], image.shape[1]
    kept = grid(whole or sizes, settings)
    rows, columns = (_Axis(*axis) for axis in zip(sizes, kept, settings.size, strict=True))
    if settings.interpolation == "nearest":
        result = image[np.ix_(rows.nearest(), columns.nearest())]
    elif isinstance(settings.resize, int):
        result = _resize_part(image, rows, columns, settings.interpolation)[rows.cut, columns.cut]
    else:
        result = _resize_whole(image, settings.resize, settings.interpolation)
        result = result[rows.kept.start : rows.kept.stop, columns.kept.start : columns.kept.stop]
    if result.shape[:2] == settings.size:
        return result
    return np.pad(result, (rows.padding, columns.padding, (0, 0)))


def grid(size: tuple[int, int], settings: Preprocessing) -> tuple[int, int]:
    """Return the size to which torchvision resizes an image of this size before it crops."""
    if not isinstance(settings.resize, int):
        return settings.resize
    height, width = size
    longer = int(settings.resize * max(height, width) / min(height, width))
    return (longer, settings.resize) if height >= width else (settings.resize, longer)


def _resize_whole(image: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), _FILTERS[interpolation][0]))


def _resize_part(image: NDArray[np.uint8], rows: _Axis, columns: _Axis, interpolation: str) -> NDArray[np.uint8]:
    resampling, support = _FILTERS[interpolation]
    height, width = rows.window(support), columns.window(support)
    part = Image.fromarray(np.ascontiguousarray(image[height, width]))
    left, right = columns.box(width)
    top, bottom = rows.box(height)
    wide, tall = len(columns.resampled), len(rows.resampled)
    # Values are rounded between the two directions, so they follow the order that Pillow uses for the full image.
    # In one call Pillow would choose by the box.
    if _rows_first(rows, columns):
        part = part.resize((part.width, tall), resampling, box=(0, top, part.width, bottom))
        return np.asarray(part.resize((wide, tall), resampling, box=(left, 0, right, tall)))
    part = part.resize((wide, part.height), resampling, box=(left, 0, right, part.height))
    return np.asarray(part.resize((wide, tall), resampling, box=(0, top, wide, bottom)))


def _rows_first(rows: _Axis, columns: _Axis) -> bool:
    """Return true where Pillow resizes the rows of the full image before its columns, dropping far more of them."""
    return rows.grid < rows.source and rows.source - rows.grid > 2 * (columns.source - columns.grid)
