"""Feature extractors: FlattenExtractor, NatureCNN and CombinedExtractor of Stable-Baselines3, by their tensors.

Only convolutions have tensors: what an extractor is otherwise follows from the space of the observations.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from errors import BuildError
from handlers.policy_encoders import convolved
from serialize.sb3.layers import Tensors
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


def read_extractor(checkpoint: Checkpoint, observation: Space, prefix: str) -> Encoder:
    """Read the extractor whose tensors stand under `prefix`, if it has any.

    Raises BuildError for one of the user's own, or when its tensors do not fit the space.
    """
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    arguments.check_extractor()
    parts = [part for _, part in observation.parts] if isinstance(observation, Dict) else [observation]
    pictures = any(isinstance(part, Box) and part.is_picture for part in parts)
    scaled = pictures and arguments.flag("normalize_images", default=True)
    if isinstance(observation, Dict):
        return _combined(observation, tensors, f"{prefix}.extractors.", scaled)
    return _part(observation, tensors, f"{prefix}.", scaled)


def plain(observation: Part, *, scaled: bool = True) -> Encoder:
    """What needs no tensors: codes of whole numbers, else the numbers themselves; pictures divided by 255."""
    if isinstance(observation, Discrete | MultiDiscrete):
        return Encoder({"encoding": "one_hot", "sizes": observation.sizes}, observation.features)
    return Encoder({"encoding": "flatten", "scale": _scale(observation, scaled)}, observation.features)


def _part(space: Part, tensors: Tensors, prefix: str, scaled: bool) -> Encoder:
    # Tensors under a space that needs none stay unread, which refuses the build.
    if isinstance(space, Box) and tensors.names(prefix):
        return _nature_cnn(space, tensors, prefix, scaled)
    return plain(space, scaled=scaled)


def _scale(observation: Part, scaled: bool) -> float:
    """255 for a picture that the library scales before the network, else 1."""
    return 255.0 if scaled and isinstance(observation, Box) and observation.is_picture else 1.0


def _nature_cnn(observation: Box, tensors: Tensors, prefix: str, scaled: bool) -> Encoder:
    shape = observation.shape
    wanted = [f"{name}.{kind}" for name in (*KERNELS, "linear.0") for kind in ("weight", "bias")]
    found = {name.removeprefix(prefix) for name in tensors.names(prefix)}
    if strange := sorted(found - set(wanted)):
        raise BuildError(f"its feature extractor is not NatureCNN: it has {prefix}{strange[0]}")
    if len(shape) != 3 or min(shape[1:]) < SMALLEST:
        raise BuildError(f"its feature extractor is not NatureCNN: an observation has shape {shape}")
    channels = shape[0]
    for name, (filters, size) in KERNELS.items():
        shapes = tensors.shape(f"{prefix}{name}.weight"), tensors.shape(f"{prefix}{name}.bias")
        if shapes != ((filters, channels, size, size), (filters,)):
            raise BuildError(
                f"its feature extractor is not NatureCNN for an observation of shape {shape}: {name} is {shapes[0]}"
            )
        channels = filters
    linear = tensors.shape(f"{prefix}linear.0.weight")
    features, taken = linear[0], convolved(list(shape))
    if linear != (features, taken) or tensors.shape(f"{prefix}linear.0.bias") != (features,):
        raise BuildError(f"a picture of shape {shape} gives {taken} values, {prefix}linear.0 is {linear}")
    spec = {
        "encoding": "nature_cnn",
        "shape": list(shape),
        "scale": _scale(observation, scaled),
        "features": features,
    }
    return Encoder(spec, features, {name: tensors.read(prefix + name) for name in wanted})


def _combined(observation: Dict, tensors: Tensors, prefix: str, scaled: bool) -> Encoder:
    parts: list[dict[str, Any]] = []
    state: dict[str, torch.Tensor] = {}
    features = 0
    for number, (key, space) in enumerate(observation.parts):
        read = _part(space, tensors, f"{prefix}{key}.", scaled)
        parts.append({"size": math.prod(space.as_box().shape)} | read.spec)
        state |= {f"parts.{number}.{name}": tensor for name, tensor in read.state.items()}
        features += read.features
    return Encoder({"encoding": "combined", "parts": parts}, features, state)
