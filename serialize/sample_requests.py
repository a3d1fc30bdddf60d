"""Deterministic samples: golden requests for any model, and random observations for the library's parity gate.

image_requests, state_requests    the golden requests, in the form that a client sends
state_inputs                      the network's input for such a request, without the worker's code
random_observations, normalized   inputs that cover a policy's whole observation space
"""

import base64
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from serialize.sb3.policy_spaces import DictSpace, Part, Space, as_box, parts_of, width_of
from settings.schema import PolicyModel, PreprocessingSettings

REACH = 1.0  # the largest distance from zero of a golden number without a bound
HUGE = 1e6
"""A larger bound counts as none: CartPole's velocities may reach 3.4e38, where every network overflows."""
BATCH = 5  # observations in the golden request that holds many

SEED = 7
MAX_NUMBERS = 1_000_000
"""The most numbers in all random observations together: an image alone has tens of thousands."""
MIN_OBSERVATIONS = 16
POWERS = (-3, 6)  # of ten, of random numbers without a bound


@dataclass(frozen=True)
class SampleRequest:
    """A request as a client of TorchServe sends it."""

    content_type: str
    body: bytes


def image_requests(preprocessing: PreprocessingSettings) -> list[SampleRequest]:
    """Return images of the network's own size and of others: smaller, larger, wide, tall and odd; PNG and JPEG.

    Where 8 bits are not enough, there is a deep grey one too.
    """
    height, width = preprocessing.size
    stored = [(height, width), (97, 131), (2 * height + 1, width + 35)]
    compressed = [(300, 300), (240, 320)]
    return [
        # Level 0 stores: the output of a compressor differs between its builds.
        *(image_request(image(*size, seed), "png", compress_level=0) for seed, size in enumerate(stored)),
        *(image_request(image(*size, seed), "jpeg", quality=90) for seed, size in enumerate(compressed)),
        *([] if preprocessing.dtype == "uint8" else [_deep_request(preprocessing.white)]),
    ]


def _deep_request(white: float | None) -> SampleRequest:
    """Return a grey image of 16 bits, or of floats up to the stated white."""
    coarse, fine = image(97, 131, 5)[:, :, 0], image(97, 131, 6)[:, :, 1]
    values = coarse.astype(np.uint16) * 256 + fine
    if white is None:
        return image_request(values, "png", compress_level=0)
    return image_request((values * (white / 65535)).astype(np.float32), "tiff")


def image(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return an RGB image with slopes, edges and rings, uint8 [height, width, 3].

    The formulas use whole numbers only, because machines differ in the last digit of floating-point functions.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    slope = (x * (256 + 64 * seed) // width + y * 192 // height) % 256
    rings = ((x - width // 2) ** 2 + (y - height // 3) ** 2) * (3 + seed) // max(height, width) % 256
    blocks = ((x * 8 // width + y * 6 // height + seed) % 2) * 160 + slope // 3
    return np.stack([slope, rings, blocks], axis=-1).astype(np.uint8)


def noisy_images(count: int, size: tuple[int, int], channels: int, seed: int) -> NDArray[np.uint8]:
    """Return images of `size` (height, width) with a tenth of noise, uint8 [count, height, width, channels].

    Noise alone has nearly nothing left after some layers that average, unlike what is served.
    """
    drawn = np.stack([image(*size, seed + number) for number in range(count)]).astype(np.int64)
    colours = drawn[..., np.arange(channels) % drawn.shape[-1]]
    noise = np.random.default_rng(seed).integers(0, 256, colours.shape)
    return ((colours * 9 + noise) // 10).astype(np.uint8)


def image_request(pixels: NDArray[Any], form: str, **options: Any) -> SampleRequest:
    """Return the request for an image in a format of Pillow, in lower case; `options` are Pillow's."""
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, form, **options)
    return SampleRequest(f"image/{form}", body.getvalue())


def state_requests(model: PolicyModel, space: Space) -> list[SampleRequest]:
    """Return observations inside `space`: with field names where there are some, as arrays, and as a batch."""
    states = list(_observations(space, 3 + BATCH))
    bodies: list[Any] = list(states[:3])
    if any(as_box(part).is_picture for _, part in parts_of(space)):
        # As bytes, because an image as lists of numbers would be most of the archive.
        states = [_with_bytes(state, space) for state in states]
        bodies = [{"observation": state} for state in states[1:3]]
    if isinstance(space, DictSpace):
        # An object with exactly the parts' keys is an observation; {"instances": ...} alone is a batch.
        bodies = [{"observation": state} if state.keys() == {"instances"} else state for state in states[:3]]
    elif model.fields is not None:
        bodies[0] = dict(zip(model.fields, states[0], strict=True))
    return [_json_request(body) for body in (*bodies, {"instances": states[3:]})]


def state_inputs(request: SampleRequest, model: PolicyModel, space: Space, example: torch.Tensor) -> torch.Tensor:
    """Return the network's input [k, *shape] for a request of `state_requests`."""
    body: Any = json.loads(request.body)
    parts = set(space.keys) if isinstance(space, DictSpace) else set()
    if not isinstance(body, dict) or (body.keys() == parts and parts != {"instances"}):
        states = [body]
    elif model.fields is not None and body.keys() == set(model.fields):
        states = [[body[field] for field in model.fields]]
    else:
        states = body["instances"] if "instances" in body else [body["observation"]]
    flat = [_flat(state, space) for state in states]
    return torch.from_numpy(np.stack(flat)).to(example.dtype).reshape(-1, *example.shape[1:])


def random_observations(space: Space, most: int, encoding: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return up to `most` observations [N, *shape] for each part, or for "observation"; always the same ones.

    They lie on the bounds, between them, and far from zero where there is none. `encoding` is the specification of the
    network's encoder: numbers without a bound that it normalises lie around their mean.
    """
    parts = parts_of(space)
    size = sum(math.prod(as_box(part).shape) for _, part in parts)
    count = max(MIN_OBSERVATIONS, min(most, MAX_NUMBERS // size))
    generator = np.random.default_rng(SEED)
    encodings = encoding.get("parts", [encoding])
    return {
        key: _random_part(part, count, generator, each.get("normalization"))
        for (key, part), each in zip(parts, encodings, strict=True)
    }


def normalized(observations: dict[str, NDArray[Any]], encoding: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the observations as VecNormalize normalises them, with the statistics in `encoding`."""
    each = zip(observations.items(), encoding.get("parts", [encoding]), strict=True)
    return {key: _normalized_part(values, part.get("normalization")) for (key, values), part in each}


def _normalized_part(values: NDArray[Any], statistics: dict[str, Any] | None) -> NDArray[Any]:
    if statistics is None:
        return values
    shape = values.shape[1:]
    mean, var = (np.array(statistics[name], np.float64).reshape(shape) for name in ("mean", "var"))
    scaled = (values.astype(np.float64) - mean) / np.sqrt(var + statistics["epsilon"])
    return np.asarray(np.clip(scaled, -statistics["clip"], statistics["clip"]), np.float32)


def _random_part(
    part: Part, count: int, generator: np.random.Generator, statistics: dict[str, Any] | None
) -> NDArray[Any]:
    match part:
        case Discrete(n=n):
            return np.asarray(generator.integers(n, size=count))
        case MultiDiscrete(nvec=nvec):
            return np.asarray(generator.integers(nvec, size=(count, len(nvec))))
        case MultiBinary(shape=shape):
            return generator.integers(2, size=(count, *shape), dtype=np.int8)
        case Box():
            return _random_box(part, count, generator, statistics or {"mean": 0.0, "var": 1.0})


def _random_box(box: Box, count: int, generator: np.random.Generator, statistics: dict[str, Any]) -> NDArray[Any]:
    """Return rows of different reach; of every eight, one lies in a corner, one at low and one at high."""
    size = width_of(box)
    limits = [np.asarray(bound, np.float64).reshape(-1) for bound in (box.low, box.high)]
    low, high = (np.where(np.abs(bound) > HUGE, np.nan, bound) for bound in limits)
    reach = 10.0 ** generator.integers(POWERS[0], POWERS[1] + 1, size=(count, 1))
    away = generator.normal(size=(count, size)) * reach * np.sqrt(statistics["var"])
    share = generator.random((count, size))
    kind = np.arange(count)[:, None] % 8
    share = np.select([kind == 1, kind == 3, kind == 5], [0.0, 1.0, np.round(share)], share)
    inside = low + share * (high - low + (0 if box.dtype.kind == "f" else 0.999))
    above, below = low + np.abs(away), high - np.abs(away)
    values = np.select(
        [~np.isnan(low) & ~np.isnan(high), ~np.isnan(low), ~np.isnan(high)],
        [inside, above, below],
        np.asarray(statistics["mean"]) + away,
    )
    if box.dtype.kind != "f":
        values = np.floor(values)
    return np.clip(values, *limits).astype(box.dtype).reshape(count, *box.shape)


def _observations(space: Space, count: int) -> Iterator[Any]:
    """Yield `count` nested lists inside a box, or objects of such lists, spread evenly between the bounds."""
    if isinstance(space, DictSpace):
        parts = [_observations(part, count) for _, part in space.parts]
        for together in zip(*parts, strict=True):
            yield dict(zip(space.keys, together, strict=True))
        return
    box = as_box(space)
    lows, highs = (bound.astype(np.float64).ravel() for bound in (box.low, box.high))
    whole = box.dtype.kind != "f"
    for number in range(count):
        # Multiples of the golden ratio fill 0..1 evenly, in any order of the axes.
        shares = ((np.arange(lows.size) * count + number + 1) * 0.6180339887) % 1.0
        values = [_between(*ends, whole) for ends in zip(lows.tolist(), highs.tolist(), shares.tolist(), strict=True)]
        yield np.array(values).reshape(box.shape).tolist()


def _between(low: float, high: float, share: float, whole: bool) -> float:
    low = low if math.isfinite(low) and abs(low) < HUGE else min(-REACH, high - 2 * REACH if high < 0 else -REACH)
    high = high if math.isfinite(high) and abs(high) < HUGE else max(REACH, low + 2 * REACH)
    if whole:
        return int(low + share * (high - low + 1))
    return round(low + (0.05 + 0.9 * share) * (high - low), 4)


def _with_bytes(state: Any, space: Space) -> Any:
    if isinstance(space, DictSpace):
        return {key: _with_bytes(state[key], part) for key, part in space.parts}
    if not as_box(space).is_picture:
        return state
    return {"b64": base64.b64encode(np.array(state, dtype=np.uint8).tobytes()).decode("ascii")}


def _flat(state: Any, space: Space) -> NDArray[Any]:
    if isinstance(space, DictSpace):
        return np.concatenate([_flat(state[key], part) for key, part in space.parts])
    if isinstance(state, dict):
        return np.frombuffer(base64.b64decode(state["b64"]), np.uint8).astype(np.float32)
    return np.array(state, dtype=np.float32).ravel()


def _json_request(value: Any) -> SampleRequest:
    return SampleRequest("application/json", json.dumps(value, separators=(",", ":")).encode())
