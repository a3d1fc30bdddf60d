"""A box in a picture is found in the network's input, and its placement takes it back to the picture."""

import numpy as np
import pytest

from handlers import image_preprocess
from handlers.card import Preprocessing
from tests.handlers import coloured

SETTINGS = {
    "exact": Preprocessing((60, 80), "bilinear", None),
    "stretched": Preprocessing((200, 90), "bilinear", None),
    "cropped": Preprocessing(90, "bilinear", (80, 70)),
    "padded": Preprocessing((60, 80), "bilinear", (101, 120)),
    "nearest": Preprocessing(75, "nearest", (64, 64)),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("size", [(120, 160), (400, 300)], ids=["usual", "large"])
def test_box_comes_back_to_the_pixels_of_the_picture(name: str, size: tuple[int, int]) -> None:
    settings = SETTINGS[name]
    seen = image_preprocess.apply(coloured.drawing(size, {"red": coloured.BOX}), settings)
    rows, columns = np.nonzero((seen[..., 0] > 190) & (seen[..., 1] < 64))
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    placed = image_preprocess.placement(size, settings)
    kept = placed.boxes(np.array([[0, 0, settings.size[1], settings.size[0]]], np.float32))[0]
    expected = np.clip(coloured.BOX, [*kept[:2], *kept[:2]], [*kept[2:], *kept[2:]])
    pixel = max(size[0] / placed.grid[0], size[1] / placed.grid[1])
    np.testing.assert_allclose(placed.boxes(box)[0], expected, atol=pixel + 0.01)
    # Each pixel of the box in the picture is one of the box in the network's input, but for the outermost.
    left, top, right, bottom = coloured.BOX
    down, across = placed.sources(0, settings.size[0])[top + 8 : bottom - 8], placed.sources(1, settings.size[1])
    inside = [(row, column) for row in down for column in across[left + 8 : right - 8] if row >= 0 and column >= 0]
    assert inside
    assert all(seen[row, column, 0] > 190 for row, column in inside)
