"""Pictures made for a load: a gradient under noise, which costs a decoder about what a photograph does."""

import io
import random

from PIL import Image

from loadtest.sample import Sample

# Of a full gradient, so that a JPEG of quality 90 keeps about the bytes a pixel of a photograph.
NOISE = 0.2


def make_pictures(count: int, height: int, width: int, draw: random.Random) -> tuple[Sample, ...]:
    """`count` different RGB pictures as JPEG; the same `draw` gives the same pictures."""
    return tuple(_picture(f"picture-{number}.jpg", height, width, draw) for number in range(count))


def _picture(name: str, height: int, width: int, draw: random.Random) -> Sample:
    bands = [_band(height, width, draw) for _ in range(3)]
    stream = io.BytesIO()
    Image.merge("RGB", bands).save(stream, "JPEG", quality=90)
    return Sample(name, "image/jpeg", stream.getvalue())


def _band(height: int, width: int, draw: random.Random) -> Image.Image:
    gradient = Image.linear_gradient("L").rotate(draw.choice((0, 90, 180, 270))).resize((width, height))
    noise = Image.frombytes("L", (width, height), draw.randbytes(width * height))
    return Image.blend(gradient, noise, NOISE)
