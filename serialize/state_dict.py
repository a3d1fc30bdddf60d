"""Loads tensors by name from a torch.save file, never running what it holds."""

import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from errors import BuildError

DEPTH = 3  # how deep training scripts nest: {"checkpoint": {"model": {"state_dict": ...}}}
CHOICE = "served_model.checkpoint_key"

StateDict = dict[str, torch.Tensor]


def load_tensors(file: Path | BinaryIO, path: Path, key: str | None = None) -> StateDict:
    """Return the state dict of `file`: the one under `key`, or the only one; `path` names the file in errors.

    Raises BuildError as `load_state_dicts` does, and when the file holds several and no key says which.
    """
    found = load_state_dicts(file, path, key)
    if len(found) > 1:
        raise BuildError(f"{path}: holds weights under {_listed(found)}; say which with {CHOICE}={next(iter(found))}")
    [(name, state)] = found.items()
    check_finite(state, f"{path}: {name}" if name else str(path))
    return state


def load_state_dicts(file: Path | BinaryIO, path: Path, key: str | None = None) -> dict[str, StateDict]:
    """Return every state dict in `file` by the keys that lead to it, joined by dots; "" where it is the whole file.

    With `key` only that one. Raises BuildError when the file holds anything but tensors and plain values (reading that
    would run code from it), no state dict, or none under `key`.
    """
    loaded = _load(file, path)
    found = dict(_state_dicts(loaded))
    if not found:
        raise BuildError(f"{path}: {_why_none(loaded)}; {_advice()}")
    if key is None:
        return found
    if key not in found:
        raise BuildError(f"{path}: has no weights under {CHOICE}={key}; it has some under {_listed(found)}")
    return {key: found[key]}


def check_finite(state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Raise BuildError for a tensor with a number that is NaN or infinite; `origin` names the state dict."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and (wrong := int((~torch.isfinite(tensor)).sum())):
            raise BuildError(
                f"{origin}: {name} has {wrong} of {tensor.numel()} numbers that are NaN or infinite; "
                "the training has failed: take a checkpoint from before"
            )


def _load(file: Path | BinaryIO, path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that it did not write itself; those it cannot read are refused below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BuildError(f"{path}: {_reason(error)}; {_advice()}") from None
    except Exception as error:  # noqa: BLE001
        # An edge: whatever torch's reader raises when a file is none of its own, an IndexError among others.
        raise BuildError(f"{path}: not a readable torch.save file: {_kind(error)}; {_advice()}") from None


def _state_dicts(node: Any, key: str = "", depth: int = DEPTH) -> Iterator[tuple[str, StateDict]]:
    """Yield the mappings of names to tensors; one that holds such mappings itself is a wrapping of theirs."""
    if not isinstance(node, Mapping) or not node:
        return
    if all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in node.items()):
        yield key, dict(node)
    elif depth:
        for name, value in node.items():
            if isinstance(name, str):
                yield from _state_dicts(value, f"{key}.{name}" if key else name, depth - 1)


def _why_none(loaded: Any) -> str:
    if not isinstance(loaded, Mapping) or not loaded:
        return f"holds a {type(loaded).__name__}, not a state dict"
    name, value = next((name, value) for name, value in loaded.items() if not isinstance(value, torch.Tensor))
    return f"{name!r} is a {type(value).__name__}, not a tensor"


def _listed(found: Iterable[str]) -> str:
    return ", ".join(name or "the file itself" for name in found)


def _reason(error: pickle.UnpicklingError) -> str:
    text = str(error)
    marker = "Unsupported global: GLOBAL "
    if marker in text:
        return (
            f"holds {text.partition(marker)[2].split()[0]}, which could only be unpickled, and that runs code from it"
        )
    return "could only be unpickled, and that runs code from it"


def _kind(error: Exception) -> str:
    """Return what the file is instead, or the first line of what torch says: the others advise to unpickle."""
    text = str(error)
    for word, kind in {"TorchScript": "it is a TorchScript archive", "safetensors": "it is a safetensors file"}.items():
        if word in text:
            return kind
    return next(iter(text.splitlines()), type(error).__name__)


def _advice() -> str:
    return "save the weights with torch.save(model.state_dict(), PATH)"
