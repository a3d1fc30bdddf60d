"""The placement of a picture in the network's input: how pixels of one become pixels of the other.

    the picture, upright ──resize──▶ grid ──crop, pad──▶ the network's input

    input = picture x grid / size + shift          along each axis, measured from the edges, not from pixel centres
    picture = (input - shift) x size / grid

`image_preprocess.placement` computes it. Detectors and segmenters answer in pixels of the picture by it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAME = "placement"
"""The name under which a request's placements join the network's outputs, a `PicturePlacement.row` an instance."""

Pair = tuple[int, int]
"""Height or rows first, then width or columns."""


@dataclass(frozen=True)
class PicturePlacement:
    """One picture: its size, its size after the resize, its first pixel in the network's input, and that input's size.

    `shift` is negative where the crop drops the picture's edge, and positive behind a padding.
    """

    size: Pair
    grid: Pair
    shift: Pair
    window: Pair

    @property
    def row(self) -> tuple[int, ...]:
        """The eight numbers of this placement."""
        return (*self.size, *self.grid, *self.shift, *self.window)

    @classmethod
    def of_row(cls, row: NDArray[np.int64]) -> "PicturePlacement":
        """Return the placement of eight numbers."""
        height, width, rows, columns, down, right, tall, wide = row.tolist()
        return cls((height, width), (rows, columns), (down, right), (tall, wide))

    def boxes(self, boxes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Convert boxes [n, 4], x and y of two corners in pixels of the input, to pixels of the picture, inside it."""
        (height, width), (rows, columns), (down, right) = self.size, self.grid, self.shift
        shift = np.array([right, down, right, down])
        scale = np.array([width / columns, height / rows] * 2)
        return np.asarray(np.clip((boxes.astype(np.float64) - shift) * scale, 0, [width, height, width, height]))

    def sources(self, axis: int, count: int) -> NDArray[np.intp]:
        """Return for each row (axis 0) or column (axis 1) of the picture that of a map which covers the input.

        `count` is the map's number of rows or columns. The map's pixel under the centre of the picture's pixel is
        taken, as Pillow's and torchvision's `nearest-exact` do; -1 where the input does not show it.
        """
        size, grid, shift, window = self.size[axis], self.grid[axis], self.shift[axis], self.window[axis]
        seen = (np.arange(size) + 0.5) * (grid / size) + shift
        found = np.floor(seen * (count / window)).astype(np.intp)
        return np.where((found >= 0) & (found < count), found, -1)
