"""Deterministic requests: what the golden answers ask of a picture model; `states` has those of policies."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from settings.schema import PreprocessingSettings


@dataclass(frozen=True)
class SampleRequest:
    """A request as a client of TorchServe sends it."""

    content_type: str
    body: bytes


def picture_requests(preprocessing: PreprocessingSettings) -> list[SampleRequest]:
    """Pictures at the network's own size and at others: smaller and larger, wide, tall and odd; PNG and JPEG."""
    height, width = preprocessing.crop or _pair(preprocessing.resize)
    stored = [(height, width), (97, 131), (2 * height + 1, width + 35)]
    compressed = [(300, 300), (240, 320)]
    return [
        *(_png(picture(*size, seed)) for seed, size in enumerate(stored)),
        *(_jpeg(picture(*size, seed)) for seed, size in enumerate(compressed)),
    ]


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """An RGB picture with slopes, edges and rings, uint8 [height, width, 3].

    Whole numbers only: floating-point functions may end in another last digit on another machine.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    slope = (x * (256 + 64 * seed) // width + y * 192 // height) % 256
    rings = ((x - width // 2) ** 2 + (y - height // 3) ** 2) * (3 + seed) // max(height, width) % 256
    blocks = ((x * 8 // width + y * 6 // height + seed) % 2) * 160 + slope // 3
    return np.stack([slope, rings, blocks], axis=-1).astype(np.uint8)


def _pair(resize: int | tuple[int, int]) -> tuple[int, int]:
    return (resize, resize) if isinstance(resize, int) else resize


def _png(pixels: NDArray[np.uint8]) -> SampleRequest:
    body = io.BytesIO()
    # Level 0 stores: what a compressor makes differs between its builds.
    Image.fromarray(pixels).save(body, "PNG", compress_level=0)
    return SampleRequest("image/png", body.getvalue())


def _jpeg(pixels: NDArray[np.uint8]) -> SampleRequest:
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "JPEG", quality=90)
    return SampleRequest("image/jpeg", body.getvalue())
