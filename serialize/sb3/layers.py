"""Finds the linear layers of a network by the names of its tensors."""

import re
from collections.abc import Iterable, Mapping

import torch

from errors import BuildError

Layer = tuple[torch.Tensor, torch.Tensor]  # weight [outputs, inputs], bias [outputs]


def sequence(state: Mapping[str, torch.Tensor], prefix: str) -> tuple[Layer, ...]:
    """The layers `prefix.0`, `prefix.2`, ... in order; () when there are none."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.weight")
    numbers = sorted(int(match[1]) for name in state if (match := pattern.fullmatch(name)))
    return tuple(layer(state, f"{prefix}.{number}") for number in numbers)


def layer(state: Mapping[str, torch.Tensor], name: str) -> Layer:
    """One linear layer. Raises BuildError when it is none."""
    try:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    except KeyError as error:
        raise BuildError(f"has no {error.args[0]}") from None
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise BuildError(f"{name} is no linear layer: weight {tuple(weight.shape)}, bias {tuple(bias.shape)}")
    return weight.float(), bias.float()


def check_known(state: Mapping[str, torch.Tensor], prefixes: Iterable[str]) -> None:
    """Raises BuildError for a tensor under none of `prefixes`: leaving it out would change the answers."""
    known = tuple(prefixes)
    for name, value in state.items():
        if not name.startswith(known):
            raise BuildError(f"holds {name} {tuple(value.shape)}, which no policy that is read has")
