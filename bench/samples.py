"""The inputs of requests: generated pictures, states of CartPole, and the forms in which clients send pictures.

A generated picture has structure at every scale. A photograph has about as much contrast in each octave of detail; a
gradient under white noise, or plain noise, has not, and decodes faster or slower than photographs.
"""

import base64
import io
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageChops

from loadtest.inputs import generate_images

JPEG, JSON = "image/jpeg", "application/json"
SIZE = (727, 1200)  # height, width in pixels
QUALITY = 90
COARSEST = 4  # blobs along the longer side
FALLING = 0.8  # contrast of each octave, relative to the coarser one
BYTES_PER_PIXEL = 0.27  # of what `natural` makes at its own size; `of_bytes` starts from it
BOUNDARY = "marina-bench-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
PICTURES, VARIANTS, STATES = 8, 128, 2048


@dataclass(frozen=True)
class Sample:
    """One input, and the text that a right answer to it contains."""

    body: bytes
    expected: str = ""


def numbered(pictures: Sequence[bytes], count: int) -> list[Sample]:
    """Return `count` samples of these pictures in turn, all different: bytes after the end change no pixel."""
    return [Sample(pictures[number % len(pictures)] + number.to_bytes(4, "big")) for number in range(count)]


def simple_pictures() -> list[Sample]:
    """Return different JPEGs of a gradient under noise, as the load test generates them."""
    made = generate_images(PICTURES, *SIZE, random.Random(0))  # noqa: S311 - inputs for a load, nothing secret
    return numbered([picture.body for picture in made], VARIANTS)


def states() -> list[Sample]:
    """Return different states of CartPole, inside its limits."""
    draw = random.Random(0)  # noqa: S311 - as above
    names = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")
    return [
        Sample(json.dumps({name: round(draw.uniform(-0.2, 0.2), 6) for name in names}).encode()) for _ in range(STATES)
    ]


def multipart(sample: Sample) -> Sample:
    """Return the picture as the file `data` of a form with the content type FORM."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="data"; filename="p.jpg"\r\n'
    head += "Content-Type: image/jpeg\r\n\r\n"
    return replace(sample, body=head.encode() + sample.body + f"\r\n--{BOUNDARY}--\r\n".encode())


def base64_json(sample: Sample) -> Sample:
    """Return the picture as `{"image": base64}`."""
    return replace(sample, body=json.dumps({"image": base64.b64encode(sample.body).decode()}).encode())


def natural(height: int, width: int, draw: random.Random, quality: int = QUALITY) -> bytes:
    """Return one RGB picture as JPEG; the same `draw` gives the same picture."""
    light = _octaves(height, width, draw, finest=2)
    # Colour changes slower than light does.
    tints = [_octaves(height, width, draw, finest=64) for _ in range(3)]
    # Each picture has its own cast and contrast, or a network would give all of them the same class.
    casts, contrast = [draw.randrange(-90, 90) for _ in range(3)], draw.uniform(0.8, 2.0)
    bands = [ImageChops.add(light, tint, scale=contrast, offset=cast) for tint, cast in zip(tints, casts, strict=True)]
    stream = io.BytesIO()
    Image.merge("RGB", bands).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def of_bytes(wanted: int, draw: random.Random) -> bytes:
    """Return a 3:2 picture within a tenth of this number of bytes, or the nearest of three tries."""
    per_pixel, found = BYTES_PER_PIXEL, []
    for _ in range(3):
        height = max(16, round(math.sqrt(wanted / per_pixel / 1.5)))
        width = round(height * 1.5)
        found.append(natural(height, width, draw))
        if abs(len(found[-1]) - wanted) < wanted / 10:
            break
        per_pixel = len(found[-1]) / (height * width)
    return min(found, key=lambda each: abs(len(each) - wanted))


def _octaves(height: int, width: int, draw: random.Random, finest: int) -> Image.Image:
    """Return grey noise of blobs from a quarter of the picture down to `finest` pixels, each octave fainter."""
    cell = max(height, width) / COARSEST
    picture, share = Image.new("L", (width, height), 128), 1.0
    while cell >= finest:
        across, down = max(2, round(width / cell)), max(2, round(height / cell))
        noise = Image.frombytes("L", (across, down), draw.randbytes(across * down))
        layer = noise.resize((width, height), Image.Resampling.BICUBIC)
        faint = layer.point([round((value - 128) * share) + 128 if share < 1 else value for value in range(256)])
        picture = ImageChops.add(picture, faint, offset=-128)
        cell, share = cell / 2, share * FALLING
    return picture
