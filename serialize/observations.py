"""Observations at random inside a policy's space: on its bounds, between them, and far from zero where it has none."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serialize.sb3.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Part, Space

SEED = 7
NUMBERS = 1_000_000
"""Numbers of all observations together beyond which fewer are drawn: a picture has tens of thousands."""
FEWEST = 16
HUGE = 1e6
"""A bound beyond this one is none: CartPole's velocities may reach 3.4e38, where every network overflows."""
POWERS = (-3, 6)  # of ten, of numbers without a bound


def draw(space: Space, most: int, encoding: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Draw up to `most` observations, always the same ones: [N, *shape] for each part, or for "observation".

    `encoding` is a network's description of what it sees: numbers without a bound that it normalises are drawn around
    their mean.
    """
    parts = space.parts if isinstance(space, Dict) else (("observation", space),)
    size = sum(math.prod(part.as_box().shape) for _, part in parts)
    count = max(FEWEST, min(most, NUMBERS // size))
    generator = np.random.default_rng(SEED)
    encodings = encoding.get("parts", [encoding])
    return {
        key: _part(part, count, generator, each.get("normalization"))
        for (key, part), each in zip(parts, encodings, strict=True)
    }


def normalized(observations: dict[str, NDArray[Any]], encoding: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return what VecNormalize makes of observations, by the figures in `encoding`."""
    each = zip(observations.items(), encoding.get("parts", [encoding]), strict=True)
    return {key: _normalized(values, part.get("normalization")) for (key, values), part in each}


def _normalized(values: NDArray[Any], figures: dict[str, Any] | None) -> NDArray[Any]:
    if figures is None:
        return values
    shape = values.shape[1:]
    mean, var = (np.array(figures[name], np.float64).reshape(shape) for name in ("mean", "var"))
    scaled = (values.astype(np.float64) - mean) / np.sqrt(var + figures["epsilon"])
    return np.asarray(np.clip(scaled, -figures["clip"], figures["clip"]), np.float32)


def _part(part: Part, count: int, generator: np.random.Generator, figures: dict[str, Any] | None) -> NDArray[Any]:
    match part:
        case Discrete(n=n):
            return np.asarray(generator.integers(n, size=count))
        case MultiDiscrete(nvec=nvec):
            return np.asarray(generator.integers(nvec, size=(count, len(nvec))))
        case MultiBinary(shape=shape):
            return generator.integers(2, size=(count, *shape), dtype=np.int8)
        case Box():
            return _box(part, count, generator, figures or {"mean": 0.0, "var": 1.0})


def _box(box: Box, count: int, generator: np.random.Generator, figures: dict[str, Any]) -> NDArray[Any]:
    """Rows of which each has its own reach; of every eight, one lies in a corner, one at low and one at high."""
    dtype = np.dtype(box.dtype)
    given = [np.array(bound, dtype=np.float64) for bound in (box.low, box.high)]  # None becomes nan
    low, high = (np.where(np.abs(bound) > HUGE, np.nan, bound) for bound in given)
    reach = 10.0 ** generator.integers(POWERS[0], POWERS[1] + 1, size=(count, 1))
    away = generator.normal(size=(count, box.features)) * reach * np.sqrt(figures["var"])
    share = generator.random((count, box.features))
    kind = np.arange(count)[:, None] % 8
    share = np.select([kind == 1, kind == 3, kind == 5], [0.0, 1.0, np.round(share)], share)
    inside = low + share * (high - low + (0 if dtype.kind == "f" else 0.999))
    above, below = low + np.abs(away), high - np.abs(away)
    values = np.select(
        [~np.isnan(low) & ~np.isnan(high), ~np.isnan(low), ~np.isnan(high)],
        [inside, above, below],
        np.asarray(figures["mean"]) + away,
    )
    if dtype.kind != "f":
        values = np.floor(values)
    limits = (np.nan_to_num(bound, nan=end) for bound, end in zip(given, (-np.inf, np.inf), strict=True))
    return np.clip(values, *limits).astype(dtype).reshape(count, *box.shape)
