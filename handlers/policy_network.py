"""The network of a policy, rebuilt from its description: encoder, layers and head.

{"type": "policy",
 "observation": {"encoding": "flatten", "scale": 1.0,
                 "normalization": null | {"mean": [...], "var": [...], "epsilon": e, "clip": c}}
              | {"encoding": "one_hot", "sizes": [3, 5]}                    whole numbers, one code each
              | {"encoding": "nature_cnn", "shape": [4, 84, 84], "scale": 255.0, "features": 512}
              | {"encoding": "combined", "parts": [{"size": 2, ...any other encoding}, ...]}    concatenated
 "widths": [4, 64, 64, 2], "activation": "Tanh", "renorm": {"epsilon": 0.001}   (or no such key)
 "head": {"type": "logits"}
       | {"type": "box", "shape": [1], "low": [-2.0|null], "high": [2.0|null], "limit": 2.0|null, "squash": true}
       | {"type": "gaussian", "shape": [1], "squash": false, "log_std": [-0.5] | null}}

The encoder turns observations into features, as Stable-Baselines3's feature extractors do. `widths` are the sizes of
the layers, input first, output last; `activation` is a class of torch.nn. With `renorm`, a batch renormalisation
precedes each layer. The last layer of a gaussian without `log_std` gives the means, then the logarithms of the spreads.
"""

import math
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn

# Classes of torch.nn without arguments and weights.
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
        """Build the network of the description above; raises ValueError for an unknown name."""
        layers = _layers(spec["widths"], spec["activation"], spec.get("renorm"))
        return cls(_encoder(spec["observation"]), layers, _head(spec["head"]))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return logits, actions or gaussians of a batch of observations."""
        answer: torch.Tensor = self.head(self.layers(self.encoder(observation)))
        return answer


class Flatten(nn.Module):
    """[N, *shape] of any type → [N, features], divided by `scale`: 255 for images, as in Stable-Baselines3."""

    scale: torch.Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch."""
        return observation.flatten(start_dim=1).to(self.scale.dtype) / self.scale


class Normalize(nn.Module):
    """[N, *shape] → [N, features] with mean 0 and spread 1, by the running statistics of VecNormalize.

    It computes in 64 bits, as VecNormalize does: a large mean subtracted from a 32-bit number would leave few digits.
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
        # The result has the type that the network is converted to.
        self.register_buffer("like", torch.tensor(0.0), persistent=False)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch."""
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
        """Return the codes of a batch: column j is 1 where its number has the value of the column."""
        numbers = observation.reshape(-1, self.count)
        return (numbers[:, self.owners] == self.slots).to(self.slots.dtype)


class NatureCnn(nn.Module):
    """Images [N, channels, height, width], or flat → [N, features]: the network of the DQN paper in Nature, 2015."""

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
        """Return the features of a batch."""
        images = observation.reshape(-1, *self.shape).to(self.scale.dtype) / self.scale
        return cast("torch.Tensor", self.linear(self.cnn(images)))


class Combined(nn.Module):
    """Flat observations [N, sum(sizes)] → the concatenated features of their parts."""

    def __init__(self, sizes: list[int], parts: list[nn.Module]) -> None:
        super().__init__()
        self.sizes = sizes
        self.parts = nn.ModuleList(parts)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch."""
        pieces = torch.split(observation, self.sizes, dim=1)
        return torch.cat([part(piece) for part, piece in zip(self.parts, pieces, strict=True)], dim=1)


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
        """Normalise a batch by the mean and the spread of the training."""
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
        """Return the actions of a batch, [N, *shape]."""
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
        """Return the distribution parameters of a batch."""
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


def _encoder(spec: dict[str, Any]) -> nn.Module:
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
            return Combined([part["size"] for part in spec["parts"]], [_encoder(part) for part in spec["parts"]])
        case unknown:
            raise ValueError(f"no observation encoding {unknown!r}")


def convolved(shape: list[int]) -> int:
    """Return the number of values that NatureCnn's convolutions leave of an image [channels, height, width]."""
    return 64 * math.prod(map(_left, shape[1:]))


def _left(size: int) -> int:
    """Return the size of a side after the three convolutions."""
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        size = (size - kernel) // stride + 1
    return size
