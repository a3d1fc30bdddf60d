"""The tensors of a checkpoint, each read once or left out by name, and the linear layers among them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from errors import BuildError
from serialize.state_dict import check_finite


class Tensors:
    """Tensors by name. What is neither read nor left out by name refuses the build: it would change the answers."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self._state = state
        self._unread = set(state)
        self.left_out: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, in the order of the file."""
        return [name for name in self._state if name.startswith(prefix)]

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor as float32. Raises BuildError when it is missing, or too large for that type."""
        if name not in self._state:
            raise BuildError(f"has no {name}")
        self._unread.discard(name)
        tensor = self._state[name].float()
        check_finite({name: tensor}, "in 32 bits")
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one tensor. Raises BuildError when it is missing."""
        if name not in self._state:
            raise BuildError(f"has no {name}")
        return tuple(self._state[name].shape)

    def leave_out(self, *prefixes: str) -> None:
        """Pass over what begins with one of `prefixes`, because only training needs it."""
        for name in [name for name in self._state if name in self._unread and name.startswith(prefixes)]:
            self._unread.discard(name)
            self.left_out.append(name)

    def leave_out_copies(self, of: str, prefix: str) -> None:
        """Pass over what `prefix` names a second time. Raises BuildError for a copy that differs from its original."""
        for name in self.names(prefix):
            original = of + name.removeprefix(prefix)
            if original not in self._state or not torch.equal(self._state[name], self._state[original]):
                raise BuildError(f"{name} is not the same as {original}")
            self._unread.discard(name)

    def check_all_read(self, besides: str | None = None) -> None:
        """Raise BuildError for a tensor that was neither read nor left out, `besides` those under that prefix."""
        left = [name for name in self._state if name in self._unread]
        if besides is not None:
            left = [name for name in left if not name.startswith(besides)]
        if left:
            more = f", and {len(left) - 1} more," if len(left) > 1 else ","
            raise BuildError(
                f"holds {left[0]} {self.shape(left[0])}{more} which no policy that is read has: "
                "without it the answers would be others"
            )


@dataclass(frozen=True, eq=False)
class Renorm:
    """Batch renormalisation as it acts after training: scale · (x - mean) / √(var + epsilon) + bias, each [inputs]."""

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
        """How many values it takes."""
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        """How many values it gives."""
        return self.weight.shape[0]


def network(tensors: Tensors, *prefixes: str, last: str | None = None) -> tuple[Layer, ...]:
    """Read the layers of Stable-Baselines3's create_mlp under each prefix, then the one named `last`.

    Linear layers and activations take turns there, so that a layer stands at every other number; in CrossQ a
    renormalisation stands before each linear layer. Raises BuildError for a layer that is none.
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
            layers.append(replace(layer(tensors, f"{prefix}.{number}"), renorm=renorm))
            renorm, number = None, number + 2
    if last is not None:
        layers.append(replace(layer(tensors, last), renorm=renorm))
    if not layers:
        raise BuildError(f"has no layer under {' or '.join(prefixes)}")
    return tuple(layers)


def layer(tensors: Tensors, name: str) -> Layer:
    """Read one linear layer. Raises BuildError when it is none."""
    weight, bias = tensors.shape(f"{name}.weight"), tensors.shape(f"{name}.bias")
    if len(weight) != 2 or bias != weight[:1]:
        raise BuildError(f"{name} is no linear layer: weight {weight}, bias {bias}")
    return Layer(tensors.read(f"{name}.weight"), tensors.read(f"{name}.bias"))


def _renorm(tensors: Tensors, name: str) -> Renorm:
    tensors.leave_out(f"{name}.steps")  # how long it was trained
    mean, var, scale, bias = (tensors.read(f"{name}.{part}") for part in ("ra_mean", "ra_var", "scale", "bias"))
    if mean.ndim != 1 or len({part.shape for part in (mean, var, scale, bias)}) != 1 or bool((var < 0).any()):
        raise BuildError(f"{name} is no batch renormalisation: its parts do not fit each other")
    return Renorm(mean, var, scale, bias)
