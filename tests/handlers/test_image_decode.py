import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from handlers import image_decode
from handlers.card import Reduced
from handlers.errors import RequestError, TooLarge, UnreadableInput
from handlers.image_decode import DecodeRules, Reduction
from tests.handlers.archives import encoded, noise

MANY = DecodeRules(10**7)
PIXELS = noise(41, 67)
GREY = PIXELS[:, :, 0].copy()
ALPHA = np.dstack([PIXELS, GREY])
ICC = b"\0" * 128 + b"a profile that no one reads"


def cmyk(**options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert("CMYK").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def converted(mode: str, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def animated(form: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def palette_with_alpha() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(ALPHA).quantize(32).save(buffer, "PNG")
    return buffer.getvalue()


READABLE = {
    "jpeg-baseline": encoded(PIXELS, "JPEG", quality=90),
    "jpeg-progressive": encoded(PIXELS, "JPEG", quality=80, progressive=True),
    "jpeg-444": encoded(PIXELS, "JPEG", subsampling=0),
    "jpeg-422": encoded(PIXELS, "JPEG", subsampling=1),
    "jpeg-420": encoded(PIXELS, "JPEG", subsampling=2),
    "jpeg-rgb": encoded(PIXELS, "JPEG", keep_rgb=True),
    "jpeg-profile": encoded(PIXELS, "JPEG", icc_profile=ICC),
    "jpeg-grey": encoded(GREY, "JPEG"),
    "jpeg-cmyk": cmyk(),
    "png": encoded(PIXELS, "PNG"),
    "png-grey": encoded(GREY, "PNG"),
    "png-alpha": encoded(ALPHA, "PNG"),
    "png-grey-alpha": converted("LA", "PNG"),
    "png-palette": converted("P", "PNG"),
    "png-palette-alpha": palette_with_alpha(),
    "png-palette-transparent-index": converted("P", "PNG", transparency=3),
    "png-one-bit": converted("1", "PNG"),
    "png-interlaced-profile": encoded(PIXELS, "PNG", icc_profile=ICC),
    "webp": encoded(PIXELS, "WEBP", quality=90),
    "webp-lossless-alpha": encoded(ALPHA, "WEBP", lossless=True),
    "webp-animated": animated("WEBP"),
    "gif": converted("P", "GIF"),
    "gif-animated": animated("GIF"),
    "bmp": encoded(PIXELS, "BMP"),
    "tiff": encoded(PIXELS, "TIFF"),
    "tiff-lzw": encoded(PIXELS, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", READABLE)
def test_a_picture_is_what_pillow_shows_on_white(name: str) -> None:
    seen = Image.open(io.BytesIO(READABLE[name])).convert("RGBA")
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB"))
    for data in (READABLE[name], bytearray(READABLE[name])):
        result = image_decode.decode(data, MANY)
        assert result.dtype == np.uint8
        assert result.shape == expected.shape
        exact = not name.startswith("jpeg") and "alpha" not in name
        assert np.abs(result.astype(int) - expected).max() <= (0 if exact else 1)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    result = image_decode.decode(animated("GIF"), MANY)
    assert np.abs(result.astype(int) - PIXELS).mean() < 20


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(orientation: int, form: str) -> None:
    corner = np.zeros((48, 96, 3), dtype=np.uint8)
    corner[:16, :16] = 255  # white at the top left as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = image_decode.decode(encoded(corner, form, exif=exif), MANY)
    rows, columns = np.nonzero(result[:, :, 0] > 200)
    # Exif 2.3: where the 0th row and the 0th column of the stored picture are seen.
    seen = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
            5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left"}  # fmt: skip
    vertical = "top" if rows.mean() < result.shape[0] / 2 else "bottom"
    horizontal = "left" if columns.mean() < result.shape[1] / 2 else "right"
    assert f"{vertical} {horizontal}" == seen[orientation]
    assert result.shape == ((48, 96, 3) if orientation < 5 else (96, 48, 3))


def test_a_broken_orientation_does_not_spoil_a_picture() -> None:
    result = image_decode.decode(encoded(PIXELS, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken"), MANY)
    assert result.shape == PIXELS.shape


def png_of_size(width: int, height: int) -> bytes:
    """Return a file that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


REFUSED = {
    "empty": (b"", UnreadableInput),
    "text": (b"this is no picture", UnreadableInput),
    "zeros": (bytes(1000), UnreadableInput),
    "only-a-jpeg-marker": (b"\xff\xd8\xff", UnreadableInput),
    "jpeg-truncated": (READABLE["jpeg-baseline"][:-300], UnreadableInput),
    "jpeg-header-only": (READABLE["jpeg-baseline"][:200], UnreadableInput),
    "jpeg-progressive-truncated": (READABLE["jpeg-progressive"][:-300], UnreadableInput),
    "png-truncated": (READABLE["png"][:-300], UnreadableInput),
    "png-damaged": (READABLE["png"][:200] + b"\xff" * 40 + READABLE["png"][240:], UnreadableInput),
    "webp-truncated": (READABLE["webp"][:-100], UnreadableInput),
    "gif-truncated": (READABLE["gif"][:-300], UnreadableInput),
    "bmp-truncated": (READABLE["bmp"][:-300], UnreadableInput),
    "tiff-truncated": (READABLE["tiff"][:-300], UnreadableInput),
    "zero-width": (png_of_size(0, 10), UnreadableInput),
    "zero-height": (png_of_size(10, 0), UnreadableInput),
    "unread-format": (encoded(PIXELS, "PPM"), UnreadableInput),
    "over-the-pixel-limit": (png_of_size(4000, 4000), TooLarge),
    "decompression-bomb": (png_of_size(60_000, 60_000), TooLarge),
    "endless-side": (png_of_size(70_000, 1), TooLarge),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused(name: str) -> None:
    data, error = REFUSED[name]
    with pytest.raises(error):
        image_decode.decode(data, MANY)


def test_the_pixel_limit_itself_is_allowed() -> None:
    assert image_decode.decode(READABLE["png"], DecodeRules(41 * 67)).shape == PIXELS.shape
    with pytest.raises(TooLarge, match="67 x 41 pixels"):
        image_decode.decode(READABLE["png"], DecodeRules(41 * 67 - 1))


def outcome(data: bytes) -> int:
    try:
        return image_decode.decode(data, MANY).ndim
    except RequestError as error:
        return error.status


@pytest.mark.parametrize("name", ["jpeg-baseline", "png", "webp", "gif", "bmp", "tiff"])
def test_no_damage_raises_anything_but_the_kits_errors(name: str) -> None:
    generator = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(READABLE[name])
        for place in generator.integers(0, len(damaged), 8):
            damaged[place] = generator.integers(0, 256)
        assert outcome(bytes(damaged)) in (3, 400, 413)


def test_values_become_a_picture() -> None:
    assert (image_decode.from_values(PIXELS.astype(float), MANY) == PIXELS).all()
    assert (image_decode.from_values(GREY.astype(float), MANY) == GREY[:, :, None]).all()


PHOTOGRAPH = noise(400, 600)
QUARTER = Reduction(Reduced(1, True, True), lambda size: (size[0] // 4, size[1] // 4))


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_a_reduced_jpeg_is_small_and_looks_alike(kind: str) -> None:
    data = encoded(PHOTOGRAPH, "JPEG", quality=90, progressive=kind == "progressive")
    small, whole = image_decode.decode_reduced(data, MANY, QUARTER)
    assert (small.shape, whole) == ((100, 150, 3), (400, 600))
    expected = np.asarray(Image.fromarray(PHOTOGRAPH).resize((150, 100), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_jpeg_is_turned_as_the_whole_one(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PHOTOGRAPH, "JPEG", exif=exif)
    small, whole = image_decode.decode_reduced(data, MANY, QUARTER)
    upright = image_decode.decode(data, MANY)
    assert whole == upright.shape[:2]
    assert small.shape[:2] == (whole[0] // 4, whole[1] // 4)
    expected = np.asarray(Image.fromarray(upright).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("name", READABLE)
def test_what_is_no_ordinary_jpeg_or_too_small_is_read_whole(name: str) -> None:
    asked = Reduction(Reduced(1, False, False), lambda size: size)
    found, whole = image_decode.decode_reduced(READABLE[name], MANY, asked)
    assert whole == found.shape[:2]
    assert (found == image_decode.decode(READABLE[name], MANY)).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_at_reduced_size(name: str) -> None:
    data, error = REFUSED[name]
    with pytest.raises(error):
        image_decode.decode_reduced(data, MANY, QUARTER)


def test_the_pixel_limit_is_that_of_the_whole_picture() -> None:
    with pytest.raises(TooLarge):
        image_decode.decode_reduced(encoded(PHOTOGRAPH, "JPEG"), DecodeRules(400 * 600 - 1), QUARTER)
