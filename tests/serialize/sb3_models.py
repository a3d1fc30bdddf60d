"""Freshly made Stable-Baselines3 models over environments that are nothing but their spaces."""

import copy
import warnings
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.torch_layers import BatchRenorm
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


def make(
    algorithm: type[BaseAlgorithm], observation: Space, action: Space, policy: str = "MlpPolicy", **arguments: Any
) -> BaseAlgorithm:
    """An untrained model on the CPU."""
    if algorithm.__name__ in ("DQN", "SAC", "TD3", "DDPG", "QRDQN", "TQC", "CrossQ"):
        arguments |= {"buffer_size": 10}
    with warnings.catch_warnings():
        # The library advises symmetric action spaces and flat observations; these are here to be odd.
        warnings.simplefilter("ignore", UserWarning)
        # Copied, because the library writes into policy_kwargs.
        model = algorithm(policy, Spaces(observation, action), seed=0, device="cpu", **copy.deepcopy(arguments))
    _renormalize(model)
    return model


def _renormalize(model: BaseAlgorithm) -> None:
    """Give batch renormalisations figures as training would: freshly made, they change next to nothing."""
    generator = torch.Generator().manual_seed(3)
    for module in model.policy.modules():
        if isinstance(module, BatchRenorm):
            for name, low, high in (("ra_mean", -2, 2), ("ra_var", 0.01, 4), ("scale", -2, 2), ("bias", -1, 1)):
                figures: torch.Tensor = getattr(module, name)
                figures.data.copy_(low + (high - low) * torch.rand(figures.shape, generator=generator))


def stored_in_short(space: Space) -> Space:
    """The same space, whose bounds the library then stores as one number each."""
    assert repr(space)
    return space


def box(low: float | list[float], high: float | list[float], shape: tuple[int, ...]) -> spaces.Box:
    """A float32 Box."""
    lows, highs = (np.broadcast_to(np.array(bound, np.float32), shape) for bound in (low, high))
    return spaces.Box(lows, highs, dtype=np.float32)


def samples(space: Space, count: int) -> Any:
    """`count` observations of a space, always the same ones: an array, or one for each key of a Dict.

    Drawn together, because a space's own `sample` gives one at a time and takes longer than the network.
    """
    draw = np.random.default_rng(7)
    match space:
        case spaces.Dict():
            return {key: samples(part, count) for key, part in space.spaces.items()}
        case spaces.Discrete():
            return draw.integers(space.n, size=count)
        case spaces.MultiDiscrete():
            return draw.integers(space.nvec, size=(count, len(space.nvec)))
        case spaces.MultiBinary():
            return draw.integers(2, size=(count, *space.shape), dtype=np.int8)
        case spaces.Box() if space.dtype == np.uint8:
            return draw.integers(0, 256, (count, *space.shape), dtype=np.uint8)
        case spaces.Box():
            wide = draw.normal(size=(count, *space.shape))
            bounded = np.isfinite(space.low) & np.isfinite(space.high)
            even = space.low + draw.random(wide.shape) * np.where(bounded, space.high - space.low, 0)
            return np.clip(np.where(bounded, even, wide), space.low, space.high).astype(space.dtype)
    raise AssertionError(space)
