"""The part of a policy that acts: feature extractor, layers, and the spaces at both ends.

    observation ──Encoder──▶ features ──Layer, activation──▶ … ──Layer──▶ action

Training needs more tensors than these; they are left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch

from errors import BuildError
from handlers.policy_network import convolved
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from serialize.sb3.policy_file import Checkpoint, Tensors
from serialize.sb3.policy_spaces import (
    ActionSpace,
    DictSpace,
    Part,
    Space,
    as_box,
    describe,
    is_bounded,
    is_library_image,
    parts_of,
    width_of,
)

KERNELS = {"cnn.0": (32, 8), "cnn.2": (64, 4), "cnn.4": (64, 3)}
"""Filters and size of each convolution of NatureCNN."""
SMALLEST = 36  # pixels per side; in a smaller image the last convolution has no input


@dataclass(frozen=True, eq=False)
class Renorm:
    """Batch renormalisation after training: scale · (x - mean) / √(var + epsilon) + bias, each [inputs]."""

    mean: torch.Tensor
    var: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """One linear layer: weight [outputs, inputs], bias [outputs], and the renormalisation of its inputs if any."""

    weight: torch.Tensor
    bias: torch.Tensor
    renorm: Renorm | None = None

    @property
    def inputs(self) -> int:
        """Return the number of inputs."""
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        """Return the number of outputs."""
        return self.weight.shape[0]


@dataclass(frozen=True)
class Encoder:
    """A feature extractor: its specification for handlers.policy_network, its weights, and its number of features."""

    spec: dict[str, Any]
    features: int
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Actor:
    """The layers from observation to action, each but the last followed by `activation`, and the spaces at both ends.

    `encoder` comes before the layers. `distribution` is the model card's entry about drawing actions. Of a gaussian,
    `log_std` holds the logarithms of the spreads, or is None where the last layer returns them after the means. `limit`
    bounds the output before squashing, and `squash` maps it through tanh onto a bounded Box. `epsilon` is that of the
    layers' renormalisations, None where they have none.
    """

    observation: Space
    action: ActionSpace
    encoder: Encoder
    layers: tuple[Layer, ...]
    activation: str
    distribution: dict[str, Any]
    log_std: tuple[float, ...] | None = None
    limit: float | None = None
    squash: bool = False
    epsilon: float | None = None

    @property
    def widths(self) -> list[int]:
        """Return the sizes of the layers, from the first input to the last output."""
        return [self.layers[0].inputs, *(layer.outputs for layer in self.layers)]

    @property
    def gaussian(self) -> bool:
        """Return True for a network that returns means and spreads instead of actions."""
        return bool(self.distribution["type"] == "gaussian")

    def check(self) -> None:
        """Raise BuildError if layers and spaces do not fit each other."""
        self._check_layers()
        inputs, outputs = self.widths[0], self.widths[-1]
        if inputs != self.encoder.features:
            raise BuildError(f"the network takes {inputs} values, its observation has {self.encoder.features}")
        actions = width_of(self.action)
        needed = actions * (2 if self.gaussian and self.log_std is None else 1)
        if outputs != needed:
            hint = ""
            if isinstance(self.action, MultiBinary) and outputs == 2 * needed:
                choices = describe(MultiDiscrete((2,) * needed))
                hint = f"; state {choices} for MaskablePPO, whose switches are choices of two"
            raise BuildError(
                f"the network gives {outputs} values, its action space {describe(self.action)} needs {needed}{hint}"
            )
        if self.gaussian and self.log_std is not None and len(self.log_std) != actions:
            raise BuildError(f"log_std has {len(self.log_std)} values, its action space needs {actions}")
        if self.squash and not (isinstance(self.action, Box) and is_bounded(self.action)):
            raise BuildError("squash_output needs a Box action space with finite bounds")

    def _check_layers(self) -> None:
        for one, following in pairwise(self.layers):
            if one.outputs != following.inputs:
                raise BuildError(f"a layer takes {following.inputs} values, the one before it gives {one.outputs}")
        for layer in self.layers:
            if (layer.renorm is None) != (self.epsilon is None):
                raise BuildError("a batch renormalisation precedes some of its layers, but not the others")
            if layer.renorm is not None and len(layer.renorm.mean) != layer.inputs:
                raise BuildError(f"a layer takes {layer.inputs} values, its renormalisation {len(layer.renorm.mean)}")


def read_layers(tensors: Tensors, *prefixes: str, last: str | None = None) -> tuple[Layer, ...]:
    """Read the layers of Stable-Baselines3's create_mlp under each prefix, then the one named `last`.

    Linear layers and activations alternate, so every second number is a layer. In CrossQ a renormalisation precedes
    each linear layer. Raises BuildError for a layer that is not linear.
    """
    layers: list[Layer] = []
    renorm = None
    for prefix in prefixes:
        number = 0
        while True:
            if f"{prefix}.{number}.ra_mean" in tensors:
                renorm, number = _renorm(tensors, f"{prefix}.{number}"), number + 1
            if f"{prefix}.{number}.weight" not in tensors:
                break
            layers.append(replace(read_layer(tensors, f"{prefix}.{number}"), renorm=renorm))
            renorm, number = None, number + 2
    if last is not None:
        layers.append(replace(read_layer(tensors, last), renorm=renorm))
    if not layers:
        raise BuildError(f"has no layer under {' or '.join(prefixes)}")
    return tuple(layers)


def read_layer(tensors: Tensors, name: str) -> Layer:
    """Read one linear layer. Raises BuildError if its tensors are not those of a linear layer."""
    weight, bias = tensors.shape(f"{name}.weight"), tensors.shape(f"{name}.bias")
    if len(weight) != 2 or bias != weight[:1]:
        raise BuildError(f"{name} is not a linear layer: weight {weight}, bias {bias}")
    return Layer(tensors.read(f"{name}.weight"), tensors.read(f"{name}.bias"))


def _renorm(tensors: Tensors, name: str) -> Renorm:
    tensors.leave_out(f"{name}.steps")  # the length of the training
    mean, var, scale, bias = (tensors.read(f"{name}.{part}") for part in ("ra_mean", "ra_var", "scale", "bias"))
    if mean.ndim != 1 or len({part.shape for part in (mean, var, scale, bias)}) != 1 or bool((var < 0).any()):
        raise BuildError(f"{name} is not a batch renormalisation: its parts do not fit each other")
    return Renorm(mean, var, scale, bias)


def read_encoder(checkpoint: Checkpoint, observation: Space, prefix: str) -> Encoder:
    """Read the feature extractor whose tensors are under `prefix`, if it has any.

    FlattenExtractor and CombinedExtractor have no tensors and follow from the observation space; NatureCNN has its
    convolutions. Raises BuildError for the user's own extractor and for tensors that do not fit the space.
    """
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    arguments.check_extractor()
    images = any(is_library_image(part) for _, part in parts_of(observation))
    scaled = images and arguments.flag("normalize_images", default=True)
    if isinstance(observation, DictSpace):
        return _combined(observation, tensors, f"{prefix}.extractors.", scaled)
    return _encoder(observation, tensors, f"{prefix}.", scaled)


def plain_encoder(observation: Part, *, scaled: bool = True) -> Encoder:
    """Return an encoder without tensors: codes of whole numbers, or the numbers themselves, images divided by 255."""
    if isinstance(observation, Discrete | MultiDiscrete):
        sizes = [observation.n] if isinstance(observation, Discrete) else list(observation.nvec)
        return Encoder({"encoding": "one_hot", "sizes": sizes}, width_of(observation))
    return Encoder({"encoding": "flatten", "scale": _scale(observation, scaled)}, width_of(observation))


def _encoder(space: Part, tensors: Tensors, prefix: str, scaled: bool) -> Encoder:
    # Tensors of a space that needs none stay unread, which stops the build.
    if isinstance(space, Box) and tensors.names(prefix):
        return _nature_cnn(space, tensors, prefix, scaled)
    return plain_encoder(space, scaled=scaled)


def _scale(observation: Part, scaled: bool) -> float:
    return 255.0 if scaled and is_library_image(observation) else 1.0


def _nature_cnn(observation: Box, tensors: Tensors, prefix: str, scaled: bool) -> Encoder:
    shape = observation.shape
    expected = [f"{name}.{kind}" for name in (*KERNELS, "linear.0") for kind in ("weight", "bias")]
    found = {name.removeprefix(prefix) for name in tensors.names(prefix)}
    if unknown := sorted(found - set(expected)):
        raise BuildError(f"its feature extractor is not NatureCNN: it has {prefix}{unknown[0]}")
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
    features, inputs = linear[0], convolved(list(shape))
    if linear != (features, inputs) or tensors.shape(f"{prefix}linear.0.bias") != (features,):
        raise BuildError(f"a picture of shape {shape} gives {inputs} values, {prefix}linear.0 is {linear}")
    spec = {
        "encoding": "nature_cnn",
        "shape": list(shape),
        "scale": _scale(observation, scaled),
        "features": features,
    }
    return Encoder(spec, features, {name: tensors.read(prefix + name) for name in expected})


def _combined(observation: DictSpace, tensors: Tensors, prefix: str, scaled: bool) -> Encoder:
    parts: list[dict[str, Any]] = []
    state: dict[str, torch.Tensor] = {}
    features = 0
    for number, (key, space) in enumerate(observation.parts):
        encoder = _encoder(space, tensors, f"{prefix}{key}.", scaled)
        parts.append({"size": math.prod(as_box(space).shape)} | encoder.spec)
        state |= {f"parts.{number}.{name}": tensor for name, tensor in encoder.state.items()}
        features += encoder.features
    return Encoder({"encoding": "combined", "parts": parts}, features, state)
