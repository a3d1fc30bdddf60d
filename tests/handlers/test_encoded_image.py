"""What a picture's header announces, and files that are built to cost a decoder far more than their pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from handlers import encoded_image, image_decode
from handlers.errors import TooLarge, UnreadableInput
from handlers.image_decode import DecodeRules
from tests.handlers.archives import encoded
from tests.handlers.files import (
    chunk,
    flat_png,
    gif_file,
    jpeg_file,
    png_file,
    run_length_bmp,
    tiff_file,
    with_scans,
)

MANY = 10**7
PIXELS = np.zeros((45, 123, 3), dtype=np.uint8)
MOST = encoded_image.MOST_SEGMENTS

SIZES = {
    "png": encoded(PIXELS, "PNG"),
    "jpeg": encoded(PIXELS, "JPEG"),
    "jpeg-progressive": encoded(PIXELS, "JPEG", progressive=True),
    "jpeg-comment": encoded(PIXELS, "JPEG", comment=b"c" * 60_000),
    "jpeg-filled": b"\xff\xd8" + b"\xff" * 9 + encoded(PIXELS, "JPEG")[2:],
    "gif": encoded(PIXELS[:, :, 0], "GIF"),
    "bmp": encoded(PIXELS, "BMP"),
    "webp": encoded(PIXELS, "WEBP"),
    "webp-lossless": encoded(PIXELS, "WEBP", lossless=True),
    "webp-extended": encoded(PIXELS, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "tiff": encoded(PIXELS, "TIFF"),
    "tiff-big-endian": tiff_file(123, 45, 8, bytes(123 * 45), big=True),
    "tiff-long": encoded(PIXELS, "TIFF", big_tiff=True),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_size_is_read_of_every_format(name: str) -> None:
    assert encoded_image.size_of(SIZES[name]) == (123, 45)
    assert image_decode.decode(SIZES[name], DecodeRules(MANY)).shape == PIXELS.shape


@pytest.mark.parametrize("name", SIZES)
def test_the_size_of_a_header_cut_short_is_unknown(name: str) -> None:
    for length in range(len(SIZES[name])):
        assert encoded_image.size_of(SIZES[name][:length]) in (None, (123, 45))
        encoded_image.check_structure(SIZES[name][:length], MANY)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xff", b"RIFF1234WEBPABCD", b"II*\0"]
)
def test_what_is_no_picture_has_no_size(data: bytes) -> None:
    assert encoded_image.size_of(data) is None
    encoded_image.check_structure(data, MANY)


def chunks(kind: bytes, count: int, data: bytes = b"") -> bytes:
    return chunk(kind, data) * count


def small(before: bytes = b"", after: bytes = b"") -> bytes:
    return png_file(8, 8, 8, 0, bytes(64), before, after)


def jpeg(segments: bytes) -> bytes:
    return b"\xff\xd8" + segments + jpeg_file((8, 8))[2:]


PROFILE = b"a\0\0" + zlib.compress(b"\0" * 1000)

FINE = {
    "png-chunks": small(chunks(b"abCd", MOST - 10)),
    "png-chunks-behind": small(after=chunks(b"abCd", MOST - 10)),
    "png-one-profile": small(chunk(b"iCCP", PROFILE)),
    "png-many-parts": small(chunks(b"IDAT", 1000)),
    "jpeg-segments": jpeg(b"\xff\xe5\0\2" * (MOST - 10)),
    "jpeg-filled": jpeg(b"\xff" * (MOST - 10)),
    "jpeg-followed-by-a-film": jpeg_file((1000, 1000)) + b"\xff\xda" * 1000,
    "jpeg-scans": with_scans(20, 100),
    "gif-extensions": gif_file(b"\x21\xfe\1a\0" * (MOST // 2 - 1)),
    "gif-junk": gif_file(b"\0" * MOST),
    "tiff-tags": tiff_file(8, 8, 8, bytes(64), {40_000 + tag: 1 for tag in range(MOST - 10)}),
}
BUILT = {
    "png-chunks": small(chunks(b"abCd", MOST)),
    "png-chunks-behind": small(after=chunks(b"abCd", MOST)),
    "png-two-profiles": small(chunks(b"iCCP", 2, PROFILE)),
    "png-parts": small(chunks(b"IDAT", encoded_image.MOST_PARTS)),
    "jpeg-segments": jpeg(b"\xff\xe5\0\2" * MOST),
    "jpeg-filled": jpeg(b"\xff" * MOST),
    "jpeg-scans": with_scans(40, 100),
    "gif-extensions": gif_file(b"\x21\xfe\1a\0" * (MOST // 2 + 1)),
    "gif-one-long-extension": gif_file(b"\x21\xfe" + b"\1a" * MOST + b"\0"),
    "gif-junk": gif_file(b"\0" * (MOST + 1)),
    "tiff-tags": tiff_file(8, 8, 8, bytes(64), {40_000 + tag: 1 for tag in range(MOST)}),
    "tiff-tile": tiff_file(8, 8, 8, bytes(64), {322: 16_000, 323: 16_000}),
    "bmp-runs": run_length_bmp(1000, 1000, b"\1\5" * encoded_image.MOST_RLE_BYTES),
}


@pytest.mark.parametrize("name", FINE)
def test_a_file_with_much_beside_its_pixels_is_read(name: str) -> None:
    assert image_decode.decode(FINE[name], DecodeRules(MANY)).ndim == 3


@pytest.mark.parametrize("name", BUILT)
def test_a_file_that_is_built_to_waste_time_is_refused(name: str) -> None:
    with pytest.raises(TooLarge, match=r"accepted|save it"):
        image_decode.decode(BUILT[name], DecodeRules(MANY))


def jpeg_in_tiff(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "TIFF", compression="jpeg")
    return buffer.getvalue()


def test_the_parts_of_a_tiff_may_have_a_scan_each() -> None:
    assert image_decode.decode(jpeg_in_tiff(2000), DecodeRules(4 * 10**6)).shape == (2000, 2000, 3)


def test_more_scans_than_parts_of_a_tiff_are_refused() -> None:
    data = jpeg_in_tiff(1000)
    with pytest.raises(TooLarge, match="scans"):
        image_decode.decode(data + b"\xff\xda" * 32 * data.count(b"\xff\xda"), DecodeRules(10**6))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_texts_that_unpack_to_gigabytes_are_refused(kind: bytes) -> None:
    text = b"a\0\0" if kind == b"zTXt" else b"a\0\1\0\0\0"
    bomb = small(chunk(kind, text + zlib.compress(bytes(10**8), 9)))
    assert len(bomb) < 10**6
    with pytest.raises(UnreadableInput, match="not a picture"):
        image_decode.decode(bomb, DecodeRules(MANY))


def test_surplus_packed_pixels_are_not_unpacked() -> None:
    bomb = flat_png(8, 8)
    start = bomb.index(b"IDAT") - 4
    packed = chunk(b"IDAT", zlib.compress(bytes(10**8), 9))
    assert image_decode.decode(bomb[:start] + packed + chunk(b"IEND", b""), DecodeRules(MANY)).shape == (8, 8, 3)


def test_a_picture_larger_than_its_header_says_is_refused() -> None:
    frame = struct.pack("<HHHH", 0, 0, 5000, 5000)
    data = gif_file(b"")
    start = data.index(b"\x2c") + 1
    with pytest.raises(UnreadableInput, match="larger than its header says"):
        image_decode.decode(data[:start] + frame + data[start + 8 :], DecodeRules(MANY))
