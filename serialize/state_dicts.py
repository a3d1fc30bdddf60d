"""Puts a user's state dict into a network, and says precisely what does not fit."""

from collections.abc import Mapping

import torch
from torch import nn

from errors import BuildError

# What DistributedDataParallel, torch.compile and training scripts put in front of every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.")
# A counter of batches seen in training: older checkpoints lack it, and no answer depends on it.
UNUSED = "num_batches_tracked"


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Loads `state` into `network`. Raises BuildError naming the first tensors missing, unknown or misshapen."""
    expected = network.state_dict()
    given = strip_prefix(state, expected)
    missing = [name for name in expected if name not in given and not name.endswith(UNUSED)]
    unknown = [name for name in given if name not in expected]
    if missing or unknown:
        parts = (_names("lacks", missing, expected), _names("has unknown", unknown, given))
        raise BuildError(f"{origin}: {'; '.join(part for part in parts if part)}")
    for name, value in given.items():
        if value.shape != expected[name].shape:
            sizes = f"{name} is {_shape(value)}, expected {_shape(expected[name])}"
            raise BuildError(f"{origin}: {sizes}{_hint(name, given, expected)}")
    network.load_state_dict(given, strict=False)


def strip_prefix(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` without a prefix that all its names share and none of the expected ones has."""
    names = dict(state)
    for _ in PREFIXES:
        shared = next((p for p in PREFIXES if all(name.startswith(p) for name in names)), None)
        if shared is None or any(name.startswith(shared) for name in expected):
            break
        names = {name.removeprefix(shared): value for name, value in names.items()}
    return names


def _names(what: str, names: list[str], tensors: Mapping[str, torch.Tensor]) -> str:
    if not names:
        return ""
    shown = ", ".join(f"{name} {_shape(tensors[name])}" for name in names[:3])
    return f"{what} {shown}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _hint(name: str, given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """The last layer has one row a class: another number of rows is another list of labels."""
    last = [key for key in expected if key.endswith((".weight", ".bias"))][-2:]
    if name not in last:
        return ""
    return f"; the checkpoint has {given[name].shape[0]} classes, served_model.labels names {expected[name].shape[0]}"


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "a number"
