"""`eager`: the weights alone, loaded without unpickling; the worker builds the network from its specification."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from serialize.loaded_model import LoadedModel


@dataclass(frozen=True)
class Eager:
    """A state dict written by torch.save."""

    name: str = "eager"
    file: str = "model.pt"
    runtime: str = "eager"

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Write the state dict; return the specification for the card's `network`."""
        with target.open("wb") as file:  # given a path, torch.save writes the file's name into it
            torch.save(dict(loaded.network.state_dict()), file)
        return {"network": loaded.spec, **loaded.compute.card()}


FORMAT = Eager()
