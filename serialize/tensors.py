"""Loads tensors by name from a torch.save file, never running what it holds."""

import pickle
import warnings
from pathlib import Path
from typing import BinaryIO

import torch

from errors import BuildError

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the weights


def load_tensors(file: Path | BinaryIO, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in `file`, alone or under a usual key; `path` names it in errors.

    Raises BuildError when the file holds anything but tensors and plain values: reading that would run code from it.
    """
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that it did not write itself; those it cannot read are refused below.
            warnings.simplefilter("ignore", UserWarning)
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BuildError(f"{path}: {_reason(error)}; {_advice()}") from None
    except Exception as error:  # noqa: BLE001
        # An edge: whatever torch's reader raises when a file is none of its own, an IndexError among others.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BuildError(f"{path}: not a readable torch.save file: {reason}") from None
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded:
        raise BuildError(f"{path}: holds a {type(loaded).__name__}, not a state dict; {_advice()}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise BuildError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor; {_advice()}")
    return loaded


def _reason(error: pickle.UnpicklingError) -> str:
    text = str(error)
    marker = "Unsupported global: GLOBAL "
    if marker in text:
        return (
            f"holds {text.partition(marker)[2].split()[0]}, which could only be unpickled, and that runs code from it"
        )
    return "could only be unpickled, and that runs code from it"


def _advice() -> str:
    return "save the weights with torch.save(model.state_dict(), PATH)"
