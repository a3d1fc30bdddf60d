"""Feature extractors: FlattenExtractor, NatureCNN and CombinedExtractor of Stable-Baselines3, by their tensors.

Only convolutions have tensors: what an extractor is otherwise follows from the space of the observations.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from errors import BuildError
from serialize.sb3.kwargs import check_extractor, flag
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Box, Dict, Discrete, MultiDiscrete, Part, Space

KERNELS = {"cnn.0": (32, 8), "cnn.2": (64, 4), "cnn.4": (64, 3)}
"""Filters and size of each convolution of NatureCNN."""
SMALLEST = 36  # pixels a side, from which the last convolution still has something to see


@dataclass(frozen=True)
class Encoder:
    """The description for handlers.policy_encoders, its weights by name, and how many features it gives."""

    spec: dict[str, Any]
    features: int
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)


def read_extractor(checkpoint: Checkpoint, observation: Space, *prefixes: str) -> Encoder:
    """The extractor whose tensors stand under the first of `prefixes` that has any.

    Raises BuildError for one of the user's own, or tensors that no extractor of the library has.
    """
    check_extractor(checkpoint.policy_kwargs)
    scaled = flag(checkpoint.policy_kwargs, "normalize_images", True)
    for prefix in prefixes:
        found = _under(checkpoint.state, f"{prefix}.")
        if found and checkpoint.observation is None:
            raise BuildError(f"has {prefix}, and a bare policy.pth has no shape of pictures; give the .zip of save()")
        if found and isinstance(observation, Dict):
            return _combined(observation, _under(found, "extractors."), scaled)
        if found and isinstance(observation, Box):
            return _nature_cnn(observation, found, scaled)
        if found:
            raise BuildError(f"has tensors under {prefix}, which its observation space needs none of")
    return _combined(observation, {}, scaled) if isinstance(observation, Dict) else plain(observation, scaled=scaled)


def plain(observation: Part, *, scaled: bool = True) -> Encoder:
    """What needs no tensors: codes of whole numbers, else the numbers themselves; pictures divided by 255."""
    if isinstance(observation, Discrete | MultiDiscrete):
        return Encoder({"encoding": "one_hot", "sizes": observation.sizes}, observation.features)
    return Encoder({"encoding": "flatten", "scale": _scale(observation, scaled)}, observation.features)


def _scale(observation: Part, scaled: bool) -> float:
    """255 for a picture that the library scales before the network, else 1."""
    return 255.0 if scaled and isinstance(observation, Box) and observation.is_picture else 1.0


def _nature_cnn(observation: Box, state: Mapping[str, torch.Tensor], scaled: bool) -> Encoder:
    shape = observation.shape
    wanted = {f"{name}.{kind}" for name in (*KERNELS, "linear.0") for kind in ("weight", "bias")}
    if set(state) != wanted or len(shape) != 3 or min(shape[1:]) < SMALLEST:
        odd = next(iter(sorted(set(state) ^ wanted)), f"an observation of shape {shape}")
        raise BuildError(f"its feature extractor is not NatureCNN: {odd}")
    channels = shape[0]
    for name, (filters, size) in KERNELS.items():
        kernel = (filters, channels, size, size)
        if state[f"{name}.weight"].shape != kernel or state[f"{name}.bias"].shape != (filters,):
            raise BuildError(
                f"its feature extractor is not NatureCNN: {name} is {tuple(state[f'{name}.weight'].shape)}"
            )
        channels = filters
    features = state["linear.0.weight"].shape[0]
    spec = {
        "encoding": "nature_cnn",
        "shape": list(shape),
        "scale": _scale(observation, scaled),
        "features": features,
    }
    return Encoder(spec, features, {name: tensor.float() for name, tensor in state.items()})


def _combined(observation: Dict, state: Mapping[str, torch.Tensor], scaled: bool) -> Encoder:
    parts: list[dict[str, Any]] = []
    tensors: dict[str, torch.Tensor] = {}
    features = 0
    if strange := {name.partition(".")[0] for name in state} - set(observation.keys):
        raise BuildError(f"has an extractor for {sorted(strange)[0]}, which its observation space has not")
    for number, (key, space) in enumerate(observation.parts):
        own = _under(state, f"{key}.")
        if own and not isinstance(space, Box):
            raise BuildError(f"has an extractor for {key}, which is no Box")
        read = _nature_cnn(space, own, scaled) if own and isinstance(space, Box) else plain(space, scaled=scaled)
        parts.append({"size": math.prod(space.as_box().shape)} | read.spec)
        tensors |= {f"parts.{number}.{name}": tensor for name, tensor in read.state.items()}
        features += read.features
    return Encoder({"encoding": "combined", "parts": parts}, features, tensors)


def _under(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
