"""State dicts of torch.save files and safetensors, loaded without running code from the file, and put into a network.

    FILE ──load_state_dicts──▶ state dicts by key ──fill──▶ network

Wrappers put a prefix in front of every name, and training steps keep other modules beside the network. The prefix under
which every tensor of the network is found counts; where there are several, the settings must name one. The errors name
what does not fit: the tensors that are missing, unknown or of another shape.
"""

import logging
import pickle
import shlex
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from errors import BuildError

logger = logging.getLogger(__name__)

DEPTH = 3  # training scripts nest this deep: {"checkpoint": {"model": {"state_dict": ...}}}
CHECKPOINT_KEY, PREFIX = "served_model.checkpoint_key", "served_model.checkpoint_prefix"
ADVICE = "save the weights with torch.save(model.state_dict(), PATH)"

# DistributedDataParallel, torch.compile and training scripts put these in front of every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.")
# A counter of training batches: older checkpoints lack it, and no answer depends on it.
UNUSED = "num_batches_tracked"
# A counter that torch.optim.swa_utils.AveragedModel keeps beside the weights that it averages.
AVERAGED = "n_averaged"

StateDict = dict[str, torch.Tensor]


def is_safetensors(path: Path) -> bool:
    """Return true for a file of safetensors, which begins with the length of its JSON header."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size


def load_tensors(file: Path | BinaryIO, path: Path, key: str | None = None) -> StateDict:
    """Return the state dict of `file`: the one under `key`, or the only one; `path` names the file in errors.

    Raises BuildError as `load_state_dicts` does, and if the file holds several and `key` is None.
    """
    found = load_state_dicts(file, path, key)
    if len(found) > 1:
        first = next(iter(found))
        raise BuildError(f"{path}: holds weights under {_listed(found)}; say which with {CHECKPOINT_KEY}={first}")
    [(name, state)] = found.items()
    check_finite(state, f"{path}: {name}" if name else str(path))
    return state


def load_state_dicts(
    file: Path | BinaryIO, path: Path, key: str | None = None, *, convertible: bool = False
) -> dict[str, StateDict]:
    """Return every state dict in `file` by its dotted key, which is "" if the whole file is one.

    With `key`, return only that one. Raises BuildError if the file holds anything but tensors and plain values (reading
    it would run code), no state dict, or none under `key`; with `convertible` it advises `python -m serialize convert`.
    """
    try:
        content = _load(file, path)
    except _ForeignObjects as error:
        advice = convert_advice(path) if convertible else ADVICE
        raise BuildError(f"{path}: {error}; {advice}") from None
    found = dict(state_dicts(content))
    if not found:
        raise BuildError(f"{path}: {_why_none(content)}; {ADVICE}")
    if key is None:
        return found
    if key not in found:
        raise BuildError(f"{path}: has no weights under {CHECKPOINT_KEY}={key}; it has some under {_listed(found)}")
    return {key: found[key]}


def check_finite(state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Raise BuildError for a tensor with a number that is NaN or infinite; `origin` names the state dict."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and (wrong := int((~torch.isfinite(tensor)).sum())):
            raise BuildError(
                f"{origin}: {name} has {wrong} of {tensor.numel()} numbers that are NaN or infinite; "
                "the training has failed: take a checkpoint from before"
            )


def convert_advice(path: Path) -> str:
    """Return the command that turns a file with foreign objects into safetensors."""
    command = shlex.join(["python", "-m", "serialize", "convert", str(path), "trust=yes"])
    return f"if you trust it, write its tensors into a file of safetensors: {command}"


def fill(
    network: nn.Module,
    found: Mapping[str, Mapping[str, torch.Tensor]],
    origin: str,
    prefix: str | None = None,
    hint: Callable[[Mapping[str, torch.Tensor]], str] = lambda state: "",
) -> str:
    """Load into `network` the one state dict of `found` that fits, and return its key.

    Only tensors below `prefix` count, where it is given. Raises BuildError if none fits, naming the first tensors that
    are missing, unknown or misshapen, with the `hint` about that state dict, and if several do.
    """
    expected = network.state_dict()
    given = {key: _network_part(state, expected, prefix, f"{origin}: {key}") for key, state in found.items()}
    wrong = {key: _misfit(state, expected) for key, state in given.items()}
    fitting = [key for key, reason in wrong.items() if reason is None]
    if len(fitting) > 1:
        listed = ", ".join(fitting)
        raise BuildError(f"{origin}: {listed} all fit; say which is served: {CHECKPOINT_KEY}={fitting[0]}")
    if not fitting:
        reasons = [f"{key}: {why}" if len(wrong) > 1 else str(why) for key, why in wrong.items()]
        found_hint = hint(next(iter(given.values())))
        raise BuildError(f"{origin}: {'; '.join(reasons)}{found_hint and f'; {found_hint}'}")
    [key] = fitting
    # The network's own: it has the versions that some modules, such as torchvision's MNASNet, ask for.
    state = network.state_dict()
    state.update(given[key])
    network.load_state_dict(state)
    # Checked in the network's own type: a float64 may become infinite as a float32.
    check_finite(network.state_dict(), f"{origin}: {key}" if key else origin)
    return key


def strip_prefix(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> StateDict:
    """Return `state` without a prefix that all its names share and no expected name has."""
    names = {name: value for name, value in state.items() if name != AVERAGED or name in expected}
    for _ in PREFIXES:
        shared = next((p for p in PREFIXES if all(name.startswith(p) for name in names)), None)
        if shared is None or any(name.startswith(shared) for name in expected):
            break
        names = {name.removeprefix(shared): value for name, value in names.items()}
    return names


def _network_part(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], prefix: str | None, origin: str
) -> StateDict:
    """Return the tensors of the network under their own names: below the prefix that the settings or the names give."""
    if prefix is not None:
        below = _below(state, prefix)
        if not below:
            listed = ", ".join(sorted({name.partition(".")[0] + "." for name in state}))
            raise BuildError(f"{origin}: has no tensors under {PREFIX}={prefix}; its names begin with {listed}")
        return below
    stripped = strip_prefix(state, expected)
    if _misfit(stripped, expected) is None:
        return stripped
    fitting = [each for each in _prefixes(state, expected) if _misfit(_below(state, each), expected) is None]
    if len(fitting) > 1:
        listed = ", ".join(fitting)
        raise BuildError(f"{origin}: the tensors under {listed} all fit; say which: {PREFIX}={fitting[0]}")
    if not fitting:
        return stripped
    below = _below(state, fitting[0])
    if ignored := len(state) - len(below):
        logger.warning("%s: the weights are those under %s; %d others are not read", origin, fitting[0], ignored)
    return below


def _below(state: Mapping[str, torch.Tensor], prefix: str) -> StateDict:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _prefixes(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> list[str]:
    """Return what stands in front of the network's first name, wherever it occurs."""
    first = next(iter(expected), "")
    return [name.removesuffix(first) for name in state if first and name.endswith(f".{first}")]


class _ForeignObjects(Exception):
    """A file with objects that only unpickling reads."""


def _load(file: Path | BinaryIO, path: Path) -> Any:
    if isinstance(file, Path) and is_safetensors(file):
        try:
            return load_file(file)
        except SafetensorError as error:
            raise BuildError(
                f"{path}: not a readable file of safetensors: {error}; copy or download it again"
            ) from None
    try:
        with warnings.catch_warnings():
            # torch warns about pickles of other writers; the code below refuses those that it cannot read.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _ForeignObjects(_needs_unpickling(error)) from None
    except Exception as error:  # noqa: BLE001
        # torch's reader raises anything for a file of another kind, an IndexError among others.
        raise BuildError(f"{path}: not a readable torch.save file: {_kind(error)}; {ADVICE}") from None


def state_dicts(node: Any, key: str = "", depth: int = DEPTH) -> Iterator[tuple[str, StateDict]]:
    """Yield every mapping of names to tensors, at most `depth` mappings deep, and the state dict of every module."""
    if isinstance(node, nn.Module):
        node = node.state_dict()
    if not isinstance(node, Mapping) or not node:
        return
    if all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in node.items()):
        yield key, dict(node)
    elif depth:
        for name, value in node.items():
            if isinstance(name, str):
                yield from state_dicts(value, f"{key}.{name}" if key else name, depth - 1)


def _why_none(content: Any) -> str:
    if not isinstance(content, Mapping) or not content:
        return f"holds a {type(content).__name__}, not a state dict"
    name, value = next((name, value) for name, value in content.items() if not isinstance(value, torch.Tensor))
    return f"{name!r} is a {type(value).__name__}, not a tensor"


def _listed(found: Iterable[str]) -> str:
    return ", ".join(name or "the file itself" for name in found)


def _needs_unpickling(error: pickle.UnpicklingError) -> str:
    reason = "could only be unpickled, and that runs code from it"
    marker = "Unsupported global: GLOBAL "
    if marker in str(error):
        return f"holds {str(error).partition(marker)[2].split()[0]}, which {reason}"
    return reason


def _kind(error: Exception) -> str:
    """Return the kind of the file, or the first line of torch's message; its other lines advise to unpickle."""
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript archive"
    return next(iter(text.splitlines()), type(error).__name__)


def _misfit(given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str | None:
    """Return why `given` cannot be loaded; None if it can."""
    missing = [name for name in expected if name not in given and not name.endswith(UNUSED)]
    unknown = [name for name in given if name not in expected]
    if missing or unknown:
        parts = (_first_names("lacks", missing, expected), _first_names("has unknown", unknown, given))
        return "; ".join(part for part in parts if part)
    for name, value in given.items():
        if value.shape != expected[name].shape:
            return f"{name} is {_shape(value)}, expected {_shape(expected[name])}{_hint(name, given, expected)}"
    return None


def _first_names(what: str, names: list[str], tensors: Mapping[str, torch.Tensor]) -> str:
    if not names:
        return ""
    shown = ", ".join(f"{name} {_shape(tensors[name])}" for name in names[:3])
    return f"{what} {shown}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _hint(name: str, given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """Explain another number of rows in the last layer, which has one row per class."""
    last = [key for key in expected if key.endswith((".weight", ".bias"))][-2:]
    if name not in last:
        return ""
    return f"; the checkpoint has {given[name].shape[0]} classes, served_model.labels names {expected[name].shape[0]}"


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "a number"
