"""What stands in front of a policy's layers: observations → features, as Stable-Baselines3's feature extractors do.

{"encoding": "flatten", "scale": 1.0, "normalization": null | {"mean": [...], "var": [...], "epsilon": e, "clip": c}}
{"encoding": "one_hot", "sizes": [3, 5]}                            whole numbers, one code each
{"encoding": "nature_cnn", "shape": [4, 84, 84], "scale": 255.0, "features": 512}
{"encoding": "combined", "parts": [{"size": 2, ...any other encoding}, ...]}     one after the other, flat
"""

import math
from typing import Any, cast

import torch
from torch import nn


class Flatten(nn.Module):
    """[N, *shape] of any type → [N, features], divided by `scale`; 255 for pictures, as Stable-Baselines3 does."""

    scale: torch.Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Features of a batch."""
        return observation.flatten(start_dim=1).to(self.scale.dtype) / self.scale


class Normalize(nn.Module):
    """[N, *shape] → [N, features] with mean 0 and spread 1, as VecNormalize makes them from its running figures.

    In 64 bits, as there: a large mean taken from a 32-bit number would leave few digits.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    like: torch.Tensor

    def __init__(self, mean: list[float], var: list[float], epsilon: float, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64), persistent=False)
        spread = torch.sqrt(torch.tensor(var, dtype=torch.float64) + epsilon)
        self.register_buffer("spread", spread, persistent=False)
        # Of the network's own type, whatever it is converted to.
        self.register_buffer("like", torch.tensor(0.0), persistent=False)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Features of a batch."""
        wide = (observation.flatten(start_dim=1).double() - self.mean) / self.spread
        return wide.clamp(-self.clip, self.clip).float().to(self.like.dtype)


class OneHot(nn.Module):
    """[N, *shape] whole numbers → [N, sum(sizes)] codes side by side."""

    owners: torch.Tensor
    slots: torch.Tensor

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        owners = [number for number, size in enumerate(sizes) for _ in range(size)]
        self.register_buffer("owners", torch.tensor(owners), persistent=False)
        slots = [float(slot) for size in sizes for slot in range(size)]
        self.register_buffer("slots", torch.tensor(slots), persistent=False)
        self.count = len(sizes)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Codes of a batch: column j is 1 where the number that owns it equals the value it stands for."""
        numbers = observation.reshape(-1, self.count)
        return (numbers[:, self.owners] == self.slots).to(self.slots.dtype)


class NatureCnn(nn.Module):
    """Pictures [N, channels, height, width], or flat → [N, features]: the network of the DQN paper in Nature, 2015."""

    scale: torch.Tensor

    def __init__(self, shape: list[int], scale: float, features: int) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.cnn = nn.Sequential(
            *(nn.Conv2d(shape[0], 32, 8, 4), nn.ReLU()),
            *(nn.Conv2d(32, 64, 4, 2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten()),
        )
        self.linear = nn.Sequential(nn.Linear(convolved(shape), features), nn.ReLU())

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Features of a batch."""
        pictures = observation.reshape(-1, *self.shape).to(self.scale.dtype) / self.scale
        return cast("torch.Tensor", self.linear(self.cnn(pictures)))


class Combined(nn.Module):
    """Flat observations [N, sum(sizes)] → the features of their parts side by side."""

    def __init__(self, sizes: list[int], parts: list[nn.Module]) -> None:
        super().__init__()
        self.sizes = sizes
        self.parts = nn.ModuleList(parts)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Features of a batch."""
        pieces = torch.split(observation, self.sizes, dim=1)
        return torch.cat([part(piece) for part, piece in zip(self.parts, pieces, strict=True)], dim=1)


def encoder(spec: dict[str, Any]) -> nn.Module:
    """Build from the description at the top of this file. Raises ValueError for what it does not know."""
    match spec["encoding"]:
        case "flatten" if spec.get("normalization") is not None:
            return Normalize(**spec["normalization"])
        case "flatten":
            return Flatten(spec["scale"])
        case "one_hot":
            return OneHot(spec["sizes"])
        case "nature_cnn":
            return NatureCnn(spec["shape"], spec["scale"], spec["features"])
        case "combined":
            return Combined([part["size"] for part in spec["parts"]], [encoder(part) for part in spec["parts"]])
        case unknown:
            raise ValueError(f"no observation encoding {unknown!r}")


def convolved(shape: list[int]) -> int:
    """Return how many values the convolutions of NatureCnn leave of a picture [channels, height, width]."""
    return 64 * math.prod(map(_left, shape[1:]))


def _left(size: int) -> int:
    """What the three convolutions leave of a side."""
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        size = (size - kernel) // stride + 1
    return size
