"""AVIF and HEIC: the size without a decoder, pictures upright, and one line where the optional reader is missing."""

import importlib.util
import io
import struct

import numpy as np
import pytest
from PIL import Image

from handlers import encoded_image, image_decode
from handlers.errors import TooLarge, UnreadableInput
from handlers.image_decode import DecodeRules
from tests.handlers.archives import noise

MANY = DecodeRules(10**7)
INSTALLED = importlib.util.find_spec("pillow_heif") is not None
HEIC = pytest.param("HEIF", marks=pytest.mark.skipif(not INSTALLED, reason="no pillow-heif: requirements-heic.txt"))
READERS = pytest.mark.parametrize("form", ["AVIF", HEIC])


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def container(*properties: bytes, brand: bytes = b"heic") -> bytes:
    inside = box(b"iprp", box(b"ipco", b"".join(properties)))
    return box(b"ftyp", brand + bytes(4) + b"mif1" + brand) + box(b"meta", bytes(4) + inside)


def extents(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def encoded(form: str, **options: object) -> bytes:
    if form == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    corner = np.zeros((64, 128, 3), dtype=np.uint8)  # whole blocks, which HEIC does not need to cut
    corner[:24, :24] = 255
    buffer = io.BytesIO()
    Image.fromarray(corner).save(buffer, form, **options)
    return buffer.getvalue()


@READERS
def test_picture_is_decoded_upright(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(form, quality=95, exif=exif)
    assert sorted(encoded_image.size_of(data) or ()) == [64, 128]
    pixels = image_decode.decode(data, MANY)
    if form == "HEIF":  # boxes turn such a picture, not EXIF (ISO/IEC 23008-12), and these do not
        pixels = np.rot90(pixels, -1)
    assert pixels.shape == (128, 64, 3)
    assert pixels[:20, 44:].mean() > 200  # the white corner is on the right now
    assert pixels[32:].mean() < 20


@READERS
def test_truncated_picture_is_refused(form: str) -> None:
    data = encoded(form)
    for length in (40, len(data) // 2, len(data) - 20):
        with pytest.raises(UnreadableInput):
            image_decode.decode(data[:length], MANY)


@READERS
def test_picture_of_more_pixels_than_allowed_is_refused_by_its_header(form: str) -> None:
    with pytest.raises(TooLarge, match="pixels, more than the 8191 allowed"):
        image_decode.decode(encoded(form), DecodeRules(64 * 128 - 1))


def test_avif_is_what_pillow_shows() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(41, 67)).save(buffer, "AVIF", quality=80)
    shown = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    np.testing.assert_array_equal(image_decode.decode(buffer.getvalue(), MANY), shown)


def test_size_is_that_of_the_largest_picture() -> None:
    assert encoded_image.size_of(container(extents(512, 512), extents(4032, 3024), extents(240, 320))) == (4032, 3024)
    assert encoded_image.size_of(container()) is None
    whole = container(extents(4032, 3024))
    assert {encoded_image.size_of(whole[:length]) for length in range(len(whole))} == {None}


def test_file_of_many_boxes_is_refused() -> None:
    with pytest.raises(TooLarge, match="more than 4096 boxes"):
        encoded_image.size_of(container(*[box(b"free", b"")] * 5000))
    endless = container(struct.pack(">I4s", 4, b"free"))  # a box shorter than its own head
    assert encoded_image.size_of(endless) is None


@pytest.mark.skipif(INSTALLED, reason="pillow-heif is installed")
def test_heic_without_its_reader_is_refused_with_the_command() -> None:
    with pytest.raises(UnreadableInput, match=r"pip install -r requirements-heic\.txt.*send JPEG or PNG"):
        image_decode.decode(container(extents(40, 30)), MANY)
