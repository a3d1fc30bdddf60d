"""The network of a policy, rebuilt from its description.

{"type": "policy",
 "observation": ...,      see handlers.policy_encoders
 "widths": [4, 64, 64, 2], "activation": "Tanh", "renorm": {"epsilon": 0.001}   (or no such key)
 "head": {"type": "logits"}
       | {"type": "box", "shape": [1], "low": [-2.0|null], "high": [2.0|null], "limit": 2.0|null, "squash": true}
       | {"type": "gaussian", "shape": [1], "squash": false, "log_std": [-0.5] | null}}

`widths` are the sizes of the layers, input first, output last; `activation` is a class of torch.nn. With `renorm` a
batch renormalisation stands before each layer. The last layer of a gaussian without `log_std` gives the means and,
behind them, the logarithms of the spreads.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from handlers.policy_encoders import encoder

# Those of torch.nn that take no argument and hold no weights.
ACTIVATIONS = (
    *("CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "Mish"),
    *("ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh", "Tanhshrink"),
)


class PolicyNetwork(nn.Module):
    """float32 [N, *shape], uint8 for pictures → logits [N, n], action [N, *shape] or gaussian [N, 2, *shape].

    Actions are in the environment's own scale; mean and logarithm of the spread of a gaussian are before squashing.
    """

    def __init__(self, encoder: nn.Module, layers: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = layers
        self.head = head

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "PolicyNetwork":
        """Builds from the description at the top of this file. Raises ValueError for what it does not know."""
        layers = _layers(spec["widths"], spec["activation"], spec.get("renorm"))
        return cls(encoder(spec["observation"]), layers, _head(spec["head"]))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Logits, actions or gaussians of a batch of observations."""
        answer: torch.Tensor = self.head(self.layers(self.encoder(observation)))
        return answer


class BatchRenorm(nn.Module):
    """[N, width] → [N, width], as sb3-contrib's BatchRenorm acts after training: by its running mean and variance."""

    mean: torch.Tensor
    var: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        for name in ("mean", "var", "scale", "bias"):
            self.register_buffer(name, torch.ones(width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values of a batch with the mean that training saw taken away, and its spread."""
        normal: torch.Tensor = (values - self.mean) / torch.sqrt(self.var + self.epsilon)
        return self.scale * normal + self.bias


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


class GaussianHead(nn.Module):
    """Last layer → mean and logarithm of the spread, [N, 2, *shape].

    The bounds of a spread that the network gives are those of Stable-Baselines3's sac/policies.py.
    """

    LOWEST, HIGHEST = -20.0, 2.0
    log_std: torch.Tensor

    def __init__(self, shape: list[int], log_std: list[float] | None) -> None:
        super().__init__()
        self.shape = shape
        self.constant = log_std is not None
        self.register_buffer("log_std", torch.tensor(log_std or []), persistent=False)

    def forward(self, last: torch.Tensor) -> torch.Tensor:
        """Distribution parameters of a batch."""
        if self.constant:
            return torch.stack([last, self.log_std.expand_as(last)], dim=1).reshape(-1, 2, *self.shape)
        mean, log_std = last.chunk(2, dim=1)
        log_std = log_std.clamp(self.LOWEST, self.HIGHEST)
        return torch.stack([mean, log_std], dim=1).reshape(-1, 2, *self.shape)


def _layers(widths: list[int], activation: str, renorm: dict[str, float] | None) -> nn.Sequential:
    if activation not in ACTIVATIONS:
        raise ValueError(f"no activation {activation!r}; known are {', '.join(ACTIVATIONS)}")
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        if renorm is not None:
            modules.append(BatchRenorm(inputs, renorm["epsilon"]))
        modules += [nn.Linear(inputs, outputs), getattr(nn, activation)()]
    return nn.Sequential(*modules[:-1])  # the last layer is the output, without activation


def _head(spec: dict[str, Any]) -> nn.Module:
    match spec["type"]:
        case "logits":
            return nn.Identity()
        case "box":
            return BoxHead(spec["shape"], spec["low"], spec["high"], spec["limit"], spec["squash"])
        case "gaussian":
            return GaussianHead(spec["shape"], spec["log_std"])
        case unknown:
            raise ValueError(f"no head {unknown!r}")
