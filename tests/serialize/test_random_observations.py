"""Observations for the gate lie inside every kind of space, reach its bounds and go far where it has none."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from serialize.sample_requests import normalized, random_observations
from serialize.sb3.policy_spaces import DictSpace, Space, unbounded_box
from tests.serialize.sb3_models import Spaces

PLAIN: dict[str, Any] = {"encoding": "flatten"}


def box(shape: tuple[int, ...], dtype: str, low: Any, high: Any) -> Box:
    """A box with these bounds, as it is read from a checkpoint."""
    kind = np.dtype(dtype)
    bounds = (np.full(shape, bound, kind if kind.kind == "f" else np.float64) for bound in (low, high))
    return Box(shape, kind, *bounds)


SHORT = (np.inf, 3.4028235e38, 0.1, np.inf)
SPACES: dict[str, tuple[Space, spaces.Space[Any]]] = {
    "half bounded": (
        box((4,), "float32", (-np.inf, -3.4028235e38, -0.1, 5.0), SHORT),
        spaces.Box(
            np.array([-np.inf, -3.4028235e38, -0.1, 5], np.float32),
            np.array([np.inf, 3.4028235e38, 0.1, np.inf], np.float32),
        ),
    ),
    "float64": (
        box((2, 1), "float64", ((0.1,), (-1e9,)), ((0.3,), (1e9,))),
        spaces.Box(np.array([[0.1], [-1e9]]), np.array([[0.3], [1e9]]), dtype=np.float64),
    ),
    "bytes": (box((3, 2, 2), "uint8", 0, 255), spaces.Box(0, 255, (3, 2, 2), np.uint8)),
    "int64": (
        box((2,), "int64", (-(2.0**63), -5.0), (2.0**63, 10.0)),
        spaces.Box(np.array([-(2**63), -5]), np.array([2**63 - 1, 10]), dtype=np.int64),
    ),
    "codes": (Discrete(6, 0), spaces.Discrete(6)),
    "several codes": (MultiDiscrete((3, 2)), spaces.MultiDiscrete([3, 2])),
    "switches": (MultiBinary((3, 4)), spaces.MultiBinary([3, 4])),
}


@pytest.mark.parametrize("name", SPACES)
def test_draw_any_space_stays_inside_and_is_repeatable(name: str) -> None:
    described, space = SPACES[name]
    values = random_observations(described, 200, PLAIN)["observation"]
    assert len(values) == 200
    assert all(space.contains(np.int64(value) if isinstance(described, Discrete) else value) for value in values)
    np.testing.assert_array_equal(values, random_observations(described, 200, PLAIN)["observation"])
    assert len(np.unique(values, axis=0)) > (5 if isinstance(described, Discrete | MultiDiscrete) else 100)


def test_draw_box_reaches_its_bounds_and_large_values() -> None:
    values = random_observations(SPACES["half bounded"][0], 200, PLAIN)["observation"]
    third = values[:, 2]
    assert {np.float32(-0.1), np.float32(0.1)} < set(third)
    assert np.abs(values[:, 0]).max() > 1e5
    assert np.abs(values[:, 0]).min() < 1e-3
    assert values[:, 3].max() > 1e5


def test_draw_large_observations_are_fewer() -> None:
    picture = box((4, 84, 84), "uint8", 0, 255)
    assert len(random_observations(picture, 512, PLAIN)["observation"]) == 35


def test_normalized_part_is_as_vecnormalize_makes_it() -> None:
    env = VecNormalize(
        DummyVecEnv([lambda: Spaces(spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Discrete(2))]), clip_obs=3
    )
    seen: Any = env.obs_rms
    seen.update(np.random.default_rng(0).normal([1e4, -3], [100, 0.1], (50, 2)))
    figures = {"mean": seen.mean, "var": seen.var, "epsilon": env.epsilon, "clip": env.clip_obs}
    space = DictSpace((("gear", Discrete(3, 0)), ("speed", unbounded_box(2))))
    encoding = {"parts": [{"encoding": "one_hot"}, {"encoding": "flatten", "normalization": figures}]}
    drawn = random_observations(space, 100, encoding)
    found = normalized(drawn, encoding)
    np.testing.assert_array_equal(found["gear"], drawn["gear"])
    np.testing.assert_array_equal(found["speed"], env.normalize_obs(drawn["speed"]))
    # Drawn around what was seen: not all of them lie at the clip.
    assert 0.2 < np.mean(np.abs(found["speed"]) < 3) < 1
