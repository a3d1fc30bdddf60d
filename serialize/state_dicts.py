"""Puts a user's state dict into a network, and says precisely what does not fit."""

from collections.abc import Mapping

import torch
from torch import nn

from errors import BuildError
from serialize.state_dict import check_finite

# What DistributedDataParallel, torch.compile and training scripts put in front of every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.")
# A counter of batches seen in training: older checkpoints lack it, and no answer depends on it.
UNUSED = "num_batches_tracked"
# A counter that torch.optim.swa_utils.AveragedModel keeps beside the weights that it averages.
AVERAGED = "n_averaged"


def fill(network: nn.Module, found: Mapping[str, Mapping[str, torch.Tensor]], origin: str) -> str:
    """Load the one of the state dicts `found` that fits into `network`, and return its key.

    Raises BuildError when none fits, naming the first tensors missing, unknown or misshapen, and when several do.
    """
    expected = network.state_dict()
    given = {key: strip_prefix(state, expected) for key, state in found.items()}
    wrong = {key: _misfit(state, expected) for key, state in given.items()}
    fitting = [key for key, reason in wrong.items() if reason is None]
    if len(fitting) > 1:
        listed = ", ".join(fitting)
        raise BuildError(f"{origin}: {listed} all fit; say which is served: served_model.checkpoint_key={fitting[0]}")
    if not fitting:
        reasons = [f"{key}: {why}" if len(wrong) > 1 else str(why) for key, why in wrong.items()]
        raise BuildError(f"{origin}: {'; '.join(reasons)}")
    [key] = fitting
    network.load_state_dict(given[key], strict=False)
    # As the network holds them: float64 may have become infinite on the way into float32.
    check_finite(network.state_dict(), f"{origin}: {key}" if key else origin)
    return key


def _misfit(given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str | None:
    """Return why `given` cannot be loaded; None when it can."""
    missing = [name for name in expected if name not in given and not name.endswith(UNUSED)]
    unknown = [name for name in given if name not in expected]
    if missing or unknown:
        parts = (_names("lacks", missing, expected), _names("has unknown", unknown, given))
        return "; ".join(part for part in parts if part)
    for name, value in given.items():
        if value.shape != expected[name].shape:
            return f"{name} is {_shape(value)}, expected {_shape(expected[name])}{_hint(name, given, expected)}"
    return None


def strip_prefix(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return `state` without a prefix that all its names share and none of the expected ones has."""
    names = {name: value for name, value in state.items() if name != AVERAGED or name in expected}
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
