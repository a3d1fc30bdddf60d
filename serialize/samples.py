"""Deterministic requests: what the golden answers ask."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from settings.schema import PolicyModel, Preprocessing

REACH = 1.0  # how far from zero a number goes whose space has no bound
HUGE = 1e6  # a bound beyond this one is none: CartPole's velocities may reach 3.4e38
BATCH = 5  # observations in the request that holds many


@dataclass(frozen=True)
class Request:
    """A request as a client of TorchServe sends it."""

    content_type: str
    body: bytes


def picture_requests(preprocessing: Preprocessing) -> list[Request]:
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


def state_requests(model: PolicyModel, space: dict[str, Any]) -> list[Request]:
    """Observations inside `space`, a card's box: by name where fields have names, as arrays, and many in one."""
    states = list(observations(space, 3 + BATCH))
    bodies: list[Any] = list(states[:3])
    if model.fields is not None:
        bodies[0] = dict(zip(model.fields, states[0], strict=True))
    return [_json(body) for body in (*bodies, {"instances": states[3:]})]


def observations(space: dict[str, Any], count: int) -> Iterator[Any]:
    """`count` nested lists inside a box, spread evenly between its bounds."""
    shape = space["shape"]
    lows, highs = (np.array(space[key], dtype=float).reshape(-1) for key in ("low", "high"))
    whole = not str(space["dtype"]).startswith("float")
    for number in range(count):
        # Multiples of the golden ratio fill 0..1 evenly, in any order of the axes.
        shares = ((np.arange(lows.size) * count + number + 1) * 0.6180339887) % 1.0
        values = [_between(*ends, whole) for ends in zip(lows.tolist(), highs.tolist(), shares.tolist(), strict=True)]
        yield np.array(values).reshape(shape).tolist()


def _between(low: float, high: float, share: float, whole: bool) -> float:
    # A card writes an absent bound as null, which numpy reads as nan.
    low = low if math.isfinite(low) and abs(low) < HUGE else min(-REACH, high - 2 * REACH if high < 0 else -REACH)
    high = high if math.isfinite(high) and abs(high) < HUGE else max(REACH, low + 2 * REACH)
    if whole:
        return int(low + share * (high - low + 1))
    return round(low + (0.05 + 0.9 * share) * (high - low), 4)


def _pair(resize: int | tuple[int, int]) -> tuple[int, int]:
    return (resize, resize) if isinstance(resize, int) else resize


def _png(pixels: NDArray[np.uint8]) -> Request:
    body = io.BytesIO()
    # Level 0 stores: what a compressor makes differs between its builds.
    Image.fromarray(pixels).save(body, "PNG", compress_level=0)
    return Request("image/png", body.getvalue())


def _jpeg(pixels: NDArray[np.uint8]) -> Request:
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "JPEG", quality=90)
    return Request("image/jpeg", body.getvalue())


def _json(value: Any) -> Request:
    return Request("application/json", json.dumps(value, separators=(",", ":")).encode())
