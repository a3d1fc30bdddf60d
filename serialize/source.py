"""What every later step of a build works on: the network, and what is known of it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Source:
    """A network ready to be exported.

    `network` maps `example`, a batch of two, to the output named `output_name`; `spec` is its description for
    handlers.networks. `card` holds the part of the model card that the checkpoint decides.
    """

    network: nn.Module
    spec: dict[str, Any]
    card: dict[str, Any]
    example: torch.Tensor
    input_name: str
    output_name: str
