"""Pictures that are made, not kept: structure at every scale as in a photograph, so that a JPEG costs what one costs.

A photograph has about as much contrast in each octave of detail; a gradient under white noise, or plain noise, does
not, and decodes faster or slower than what people send.
"""

import io
import math
import random

from PIL import Image, ImageChops

SIZE = (727, 1200)  # height, width in pixels
QUALITY = 90
COARSEST = 4  # blobs along the longer side
FALLING = 0.8  # contrast of each octave, of the one before
BYTES_PER_PIXEL = 0.27  # of what `natural` makes at its own size; `of_bytes` starts from it


def natural(height: int, width: int, draw: random.Random, quality: int = QUALITY) -> bytes:
    """One RGB picture as JPEG; the same `draw` gives the same picture."""
    light = _octaves(height, width, draw, finest=2)
    # Colour changes slower than light does.
    tints = [_octaves(height, width, draw, finest=64) for _ in range(3)]
    # Each picture has a cast and a contrast of its own, or a network would give them all the same class.
    casts, contrast = [draw.randrange(-90, 90) for _ in range(3)], draw.uniform(0.8, 2.0)
    bands = [ImageChops.add(light, tint, scale=contrast, offset=cast) for tint, cast in zip(tints, casts, strict=True)]
    stream = io.BytesIO()
    Image.merge("RGB", bands).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def of_bytes(wanted: int, draw: random.Random) -> bytes:
    """A picture of about so many bytes, 3 to 2; within a tenth, or the nearest of three tries."""
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
    """Grey noise of blobs from a quarter of the picture down to `finest` pixels, each octave fainter than the last."""
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
