"""The network of a policy, rebuilt from its description.

{"type": "policy",
 "observation": {"encoding": "flatten", "scale": 1.0}    divides by `scale`
              | {"encoding": "one_hot", "sizes": [3, 5]},    whole numbers, one code each
 "widths": [4, 64, 64, 2], "activation": "Tanh",
 "head": {"type": "logits"}
       | {"type": "box", "shape": [1], "low": [-2.0|null], "high": [2.0|null], "limit": 2.0|null, "squash": true}}

`widths` are the sizes of the layers, input first, output last; `activation` is a class of torch.nn.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn

# Those of torch.nn that take no argument and hold no weights.
ACTIVATIONS = (
    *("CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "Mish"),
    *("ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh", "Tanhshrink"),
)


class PolicyNetwork(nn.Module):
    """observation: float32 [N, *shape], uint8 for pictures → logits [N, n], or action [N, *shape].

    Actions are in the environment's own scale.
    """

    def __init__(self, encoder: nn.Module, layers: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = layers
        self.head = head

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "PolicyNetwork":
        """Builds from the description at the top of this file. Raises ValueError for what it does not know."""
        return cls(_encoder(spec["observation"]), _layers(spec["widths"], spec["activation"]), _head(spec["head"]))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Logits or actions of a batch of observations."""
        answer: torch.Tensor = self.head(self.layers(self.encoder(observation)))
        return answer


class Flatten(nn.Module):
    """[N, *shape] of any type → [N, features], divided by `scale`; 255 for pictures, as Stable-Baselines3 does."""

    scale: torch.Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Features of a batch."""
        return observation.flatten(start_dim=1).to(self.scale.dtype) / self.scale


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


class BoxHead(nn.Module):
    """Means of a Gaussian policy → actions, as Stable-Baselines3's `predict(deterministic=True)` makes them.

    `limit` bounds the mean (gSDE's clip_mean). With `squash` tanh maps it to -1..1 and from there onto the space;
    without, it is clipped to the space. Unbounded where low or high is None.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(
        self, shape: list[int], low: list[float | None], high: list[float | None], limit: float | None, squash: bool
    ) -> None:
        super().__init__()
        self.shape = shape
        self.limit = limit
        self.squash = squash
        self.bounded = any(value is not None for value in (*low, *high))
        lows = torch.tensor([-math.inf if value is None else value for value in low])
        highs = torch.tensor([math.inf if value is None else value for value in high])
        self.register_buffer("low", lows, persistent=False)
        self.register_buffer("high", highs, persistent=False)

    def forward(self, mean: torch.Tensor) -> torch.Tensor:
        """Actions of a batch, [N, *shape]."""
        if self.limit is not None:
            mean = mean.clamp(-self.limit, self.limit)
        if self.squash:
            mean = self.low + 0.5 * (mean.tanh() + 1.0) * (self.high - self.low)
        elif self.bounded:
            mean = torch.minimum(torch.maximum(mean, self.low), self.high)
        return mean.reshape(-1, *self.shape)


def _encoder(spec: dict[str, Any]) -> nn.Module:
    match spec["encoding"]:
        case "flatten":
            return Flatten(spec["scale"])
        case "one_hot":
            return OneHot(spec["sizes"])
        case unknown:
            raise ValueError(f"no observation encoding {unknown!r}")


def _layers(widths: list[int], activation: str) -> nn.Sequential:
    if activation not in ACTIVATIONS:
        raise ValueError(f"no activation {activation!r}; known are {', '.join(ACTIVATIONS)}")
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        modules += [nn.Linear(inputs, outputs), getattr(nn, activation)()]
    return nn.Sequential(*modules[:-1])  # the last layer is the output, without activation


def _head(spec: dict[str, Any]) -> nn.Module:
    match spec["type"]:
        case "logits":
            return nn.Identity()
        case "box":
            return BoxHead(spec["shape"], spec["low"], spec["high"], spec["limit"], spec["squash"])
        case unknown:
            raise ValueError(f"no head {unknown!r}")
