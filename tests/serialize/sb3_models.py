"""Freshly made Stable-Baselines3 models over environments that are nothing but their spaces."""

import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

Space = spaces.Space[Any]


class Spaces(gymnasium.Env[Any, Any]):
    """Gives out samples of its observation space."""

    def __init__(self, observation: Space, action: Space) -> None:
        self.observation_space = observation
        self.action_space = action

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, True, False, {}


def make(algorithm: type[BaseAlgorithm], observation: Space, action: Space, **arguments: Any) -> BaseAlgorithm:
    """An untrained model on the CPU."""
    if algorithm.__name__ in ("DQN", "SAC", "TD3", "DDPG"):
        arguments |= {"buffer_size": 10}
    with warnings.catch_warnings():
        # The library advises symmetric action spaces and flat observations; these are here to be odd.
        warnings.simplefilter("ignore", UserWarning)
        return algorithm("MlpPolicy", Spaces(observation, action), seed=0, device="cpu", **arguments)


def box(low: float | list[float], high: float | list[float], shape: tuple[int, ...]) -> spaces.Box:
    """A float32 Box."""
    lows, highs = (np.broadcast_to(np.array(bound, np.float32), shape) for bound in (low, high))
    return spaces.Box(lows, highs, dtype=np.float32)


def samples(space: Space, count: int) -> np.ndarray[Any, Any]:
    """`count` observations of a space, always the same ones."""
    space.seed(7)
    return np.stack([np.asarray(space.sample()) for _ in range(count)])
