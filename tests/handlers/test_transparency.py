"""Transparent pictures lie on the background; grey ones of many bits are scaled by a rule, or refused."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handlers import image_decode
from handlers.errors import InvalidFields
from handlers.image_decode import DecodeRules
from tests.handlers.archives import encoded
from tests.handlers.conftest import Load
from tests.handlers.files import chunk, packed, png_file, tiff_file
from tests.handlers.worker import picture

RULES = DecodeRules(10**7)
GREEN = DecodeRules(10**7, background=(0, 200, 0))
# Black wherever it is transparent, as programs write a drawing; half of it and one red pixel show.
STROKES = np.zeros((2, 2, 4), dtype=np.uint8)
STROKES[0, 0], STROKES[0, 1] = (255, 0, 0, 255), (0, 0, 0, 128)
ON_GREEN = [[[255, 0, 0], [0, 100, 0]], [[0, 200, 0], [0, 200, 0]]]


def shown(data: bytes, rules: DecodeRules = RULES) -> Any:
    return image_decode.decode(data, rules).tolist()


def premultiplied() -> bytes:
    """Return a TIFF whose colours are multiplied by their alpha: its tag ExtraSamples is 1 instead of 2."""
    pixels = Image.frombytes("RGBA", (2, 2), Image.fromarray(STROKES).convert("RGBa").tobytes())
    tag = struct.pack("<HHI", 338, 3, 1)
    return encoded(np.asarray(pixels), "TIFF").replace(tag + b"\x02", tag + b"\x01")


def grey_with_alpha() -> bytes:
    return png_file(2, 2, 8, 4, bytes([255, 255, 0, 128, 9, 0, 9, 0]))


@pytest.mark.parametrize(
    "data",
    [
        encoded(STROKES, "PNG"),
        encoded(STROKES, "TIFF"),
        encoded(STROKES, "WEBP", lossless=True),
        premultiplied(),
    ],
    ids=["png", "tiff", "webp", "tiff-premultiplied"],
)
def test_a_transparent_picture_lies_on_the_background(data: bytes) -> None:
    assert np.abs(np.array(shown(data, GREEN)) - ON_GREEN).max() <= 1


def test_hidden_colours_do_not_count() -> None:
    hidden = STROKES.copy()
    hidden[1] = (9, 200, 77, 0)
    assert shown(encoded(hidden, "PNG")) == shown(encoded(STROKES, "PNG"))


def test_a_drawing_on_nothing_is_the_drawing_on_white() -> None:
    ink = np.zeros((28, 28, 4), dtype=np.uint8)
    ink[5:20, 12:15, 3] = 255
    on_white = np.repeat(255 - ink[:, :, 3:], 3, axis=2)
    assert (image_decode.decode(encoded(ink, "PNG"), RULES) == on_white).all()


def test_grey_with_alpha_is_laid_on_the_background() -> None:
    assert shown(grey_with_alpha(), GREEN) == [[[255] * 3, [0, 100, 0]], [[0, 200, 0]] * 2]


def palette() -> bytes:
    """Return a PNG with a palette and the alpha of each of its colours."""
    colours = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 0, 9, 9, 9])) + chunk(b"tRNS", bytes([255, 128, 0]))
    return png_file(2, 2, 8, 3, bytes([0, 1, 2, 2]), colours)


def test_a_palette_has_an_alpha_for_each_colour() -> None:
    assert shown(palette(), GREEN) == ON_GREEN


def test_a_gif_has_a_transparent_colour() -> None:
    buffer = io.BytesIO()
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.putpixel((1, 0), 1)
    image.save(buffer, "GIF", transparency=1)
    assert shown(buffer.getvalue(), GREEN) == [[[1, 2, 3], [0, 200, 0]]]


@pytest.mark.parametrize(
    ("depth", "colour", "pixels", "transparent", "expected"),
    [
        (1, 0, b"\x40", [1], [0] * 3),
        (2, 0, b"\x10", [1], [0] * 3),
        (4, 0, b"\x3c", [12], [51] * 3),
        (8, 0, b"\x80\x81", [129], [128] * 3),
        (16, 0, packed([257, 258], ">H"), [258], [1] * 3),
        (8, 2, bytes([1, 2, 3, 4, 5, 6]), [4, 5, 6], [1, 2, 3]),
    ],
    ids=["1-bit", "2-bit", "4-bit", "8-bit", "16-bit", "rgb"],
)
def test_the_one_transparent_colour_of_a_png_is_that_one(
    depth: int, colour: int, pixels: bytes, transparent: list[int], expected: list[int]
) -> None:
    data = png_file(2, 1, depth, colour, pixels, chunk(b"tRNS", packed(transparent, ">H")))
    seen, hidden = shown(data, GREEN)[0]
    assert (seen, hidden) == (expected, [0, 200, 0])


def test_a_transparent_colour_of_sixteen_bits_is_refused() -> None:
    data = png_file(1, 1, 16, 2, packed([1, 2, 3], ">H"), chunk(b"tRNS", packed([1, 2, 3], ">H")))
    with pytest.raises(InvalidFields, match="send 8 bits"):
        image_decode.decode(data, RULES)


def test_without_a_background_only_opaque_pictures_are_read() -> None:
    opaque = STROKES.copy()
    opaque[:, :, 3] = 255
    assert shown(encoded(opaque, "PNG"), DecodeRules(100, background=None)) == opaque[:, :, :3].tolist()
    with pytest.raises(InvalidFields, match="transparent"):
        image_decode.decode(encoded(STROKES, "PNG"), DecodeRules(100, background=None))


def test_a_transparent_picture_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert shown(encoded(STROKES, "PNG", exif=exif), GREEN)[0][1] == [255, 0, 0]


def exact(values: NDArray[Any], white: int) -> NDArray[Any]:
    """Return value / white x 255, rounded to the nearest, in whole numbers."""
    return (values.astype(np.int64) * 510 + white) // (2 * white)


EVERY = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_divided_by_257(form: str) -> None:
    result = image_decode.decode(encoded(EVERY, form), RULES)
    assert (result == exact(EVERY, 65535)[:, :, None]).all()


def test_stated_white_scales_twelve_bits_in_sixteen() -> None:
    values = EVERY[:16]  # 0 to 4095
    assert (
        image_decode.decode(encoded(values, "PNG"), DecodeRules(10**7, white=4095)) == exact(values, 4095)[:, :, None]
    ).all()


def test_a_tiff_of_twelve_bits_says_its_white() -> None:
    assert shown(tiff_file(2, 1, 12, b"\xff\xf8\x00")) == [[[255] * 3, [128] * 3]]


def test_a_tiff_whose_zero_is_white_is_inverted() -> None:
    data = packed([0, 257, 65535], "<H")
    assert shown(tiff_file(3, 1, 16, data, {262: 0})) == [[[255] * 3, [254] * 3, [0] * 3]]


UNSAID = {
    "int32": tiff_file(2, 1, 32, packed([0, 100], "<I")),
    "float": encoded(np.array([[0.0, 0.5]], dtype=np.float32), "TIFF"),
    "signed": tiff_file(2, 1, 16, packed([0, 100], "<H"), {339: 2}),
}


@pytest.mark.parametrize("name", UNSAID)
def test_numbers_that_do_not_say_their_white_are_refused(name: str) -> None:
    with pytest.raises(InvalidFields, match=r"which of them is white: send .* preprocessing\.white"):
        image_decode.decode(UNSAID[name], RULES)


def test_a_stated_white_reads_integers_and_floats() -> None:
    assert shown(UNSAID["int32"], DecodeRules(10, white=200)) == [[[0] * 3, [128] * 3]]
    assert shown(UNSAID["signed"], DecodeRules(10, white=100)) == [[[0] * 3, [255] * 3]]
    assert shown(UNSAID["float"], DecodeRules(10, white=1.0)) == [[[0] * 3, [128] * 3]]


@pytest.mark.parametrize("value", [-0.1, 1.001, np.nan, np.inf])
def test_values_outside_black_and_white_are_refused(value: float) -> None:
    with pytest.raises(InvalidFields, match="outside 0 to 1"):
        image_decode.decode(encoded(np.array([[0.5, value]], dtype=np.float32), "TIFF"), DecodeRules(10, white=1.0))


def test_signed_bytes_are_refused() -> None:
    with pytest.raises(InvalidFields, match="signed"):
        image_decode.decode(tiff_file(2, 1, 8, b"\0\xff", {339: 2}), RULES)


def test_the_card_names_the_background_and_the_white(vision_with: Load) -> None:
    resize = {"resize": [4, 4], "interpolation": "bilinear", "crop": None, "mean": [0] * 3, "std": [1] * 3}
    worker = vision_with(preprocessing={**resize, "background": [0, 255, 0], "white": 1000})
    [seen] = worker.one(picture(encoded(np.zeros((4, 4, 4), dtype=np.uint8), "PNG"))).predictions
    assert seen["label"] == "green"
    assert worker.one(picture(encoded(np.full((4, 4), 1001, dtype=np.uint16), "PNG"))).error == (422, "invalid_fields")
