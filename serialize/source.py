"""What every later step of a build works on: the network, and what is known of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from serialize.sb3.spaces import ActionSpace, Space
from settings.schema import Preprocessing


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pictures as the worker hands them to the network, uint8 [N, H, W, 3], for a format that has to see some.

    `origin` says where they come from; `top1` is the share of first labels that the format must keep, `tolerance` what
    its golden answers are held to.
    """

    inputs: NDArray[np.uint8]
    origin: str
    top1: float
    tolerance: float


@dataclass(frozen=True)
class Computing:
    """How the formats that torch runs compute: element type, and memory order of the weights."""

    precision: str = "float32"
    channels_last: bool = False

    def card(self) -> dict[str, Any]:
        """What the model card's `artifact` says of it."""
        return {"precision": self.precision, "channels_last": self.channels_last}


@dataclass(frozen=True)
class Source:
    """A network ready to be exported.

    `network` maps `example`, a batch of two, to the output named `output_name`; `spec` is its description for
    handlers.networks. `card` holds the part of the model card that the checkpoint decides. `in_graph` is the
    pre-processing that the graph is to do itself. `calibration` gives pictures to the formats that ask for some.
    `spaces` are a policy's, of its observations and its actions.
    `checkpoint_key` is where in the checkpoint the weights stood; None where they are the whole file.
    """

    network: nn.Module
    spec: dict[str, Any]
    card: dict[str, Any]
    example: torch.Tensor
    input_name: str
    output_name: str
    computing: Computing = Computing()
    in_graph: Preprocessing | None = None
    calibration: Callable[[], Calibration] | None = None
    spaces: tuple[Space, ActionSpace] | None = None
    checkpoint_key: str | None = None
