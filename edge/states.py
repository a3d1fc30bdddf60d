"""Random states of an observation space, as request bodies."""

import json

import numpy as np
from numpy.typing import NDArray

from edge.network import Policy

TOGETHER = 500
"""Observations in one body: small enough for any limit, and a hundred thousand are two hundred bodies."""


def states(policy: Policy, count: int, seed: int = 0) -> NDArray[np.float64]:
    """[count, size] inside the space: even over what is bounded, of four magnitudes over what is not."""
    space, generator = policy.space, np.random.default_rng(seed)
    low, high = (bound.astype(np.float64).ravel() for bound in (space.low, space.high))
    magnitude = 10.0 ** generator.integers(-2, 2, (count, 1))
    values = generator.normal(size=(count, policy.size)) * magnitude
    narrow = np.isfinite(low) & np.isfinite(high) & (high - low < 1e6)
    values[:, narrow] = generator.uniform(low[narrow], high[narrow], (count, int(narrow.sum())))
    if space.dtype.kind != "f":
        values = np.round(values)
    inside = np.clip(values, low, high).astype(np.float32)
    # Every other state has few digits, as people write them; cut towards zero, which stays inside most spaces.
    short = np.trunc(inside[::2].astype(np.float64) * 1e4) / 1e4
    mixed = inside.astype(np.float64)
    mixed[::2] = np.clip(short, low, high)
    return mixed


def bodies(policy: Policy, values: NDArray[np.float64]) -> list[bytes]:
    """The states as JSON, `TOGETHER` in a body."""
    shaped = values.reshape(-1, *policy.space.shape)
    parts = (shaped[start : start + TOGETHER] for start in range(0, len(shaped), TOGETHER))
    return [json.dumps({"instances": part.tolist()}).encode() for part in parts]
