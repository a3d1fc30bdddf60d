"""`eager`: the weights alone, loaded without unpickling; the worker builds the network from its description."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from serialize.source import Source


@dataclass(frozen=True)
class Eager:
    """torch.save of a state dict."""

    name: str = "eager"
    file: str = "model.pt"
    runtime: str = "eager"

    def export(self, source: Source, target: Path) -> dict[str, Any]:
        """Writes the state dict; the description goes into the card as `network`."""
        with target.open("wb") as file:  # given a path, torch.save writes the file's name into it
            torch.save(dict(source.network.state_dict()), file)
        return {"network": source.spec, **source.computing.card()}


FORMAT = Eager()
