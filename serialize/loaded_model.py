"""The loaded network and what the later steps of a build need to know about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from handlers.signature import Signature
from handlers.tensor_records import Run
from serialize.sb3.policy_spaces import ActionSpace, Space
from settings.schema import PreprocessingSettings


@dataclass(frozen=True, eq=False)
class CalibrationInputs:
    """Images as the worker passes them to the network, uint8 [N, H, W, 3], for formats that need some.

    `origin` names their source for the model card. `top1` is the share of top-1 labels that the format must keep, and
    `tolerance` the tolerance of its golden answers.
    """

    inputs: NDArray[np.uint8]
    origin: str
    top1: float
    tolerance: float


@dataclass(frozen=True)
class ComputeOptions:
    """Element type and memory order of the weights, for the formats that torch runs."""

    precision: str = "float32"
    channels_last: bool = False

    def card(self) -> dict[str, Any]:
        """Return the options for the model card's `artifact`."""
        return {"precision": self.precision, "channels_last": self.channels_last}


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights, ready for export.

    `network` maps `example`, a batch of two, to the outputs named `output_names`, or with `alone` a batch of one to
    outputs without a dimension that counts instances. `spec` is its specification for handlers.networks. `card` holds
    the part of the model card that follows from the checkpoint. `in_graph` is the pre-processing that the graph does.
    `calibration` returns images for the formats that need some. `spaces` are a policy's observation and action space.
    `checkpoint_key` is the key of the weights in the checkpoint, None where they are the whole file. A `single` network
    takes a batch of one only. `files` are those that the network's code or graph is in, by their path in an archive.
    `framework` are the packages that the references come from.

    A `tensors` model has a `signature`, and `run` calls the framework itself with its inputs by name; `example` is
    empty.
    """

    network: nn.Module
    spec: dict[str, Any]
    card: dict[str, Any]
    example: torch.Tensor
    input_name: str
    output_names: tuple[str, ...]
    compute: ComputeOptions = ComputeOptions()
    in_graph: PreprocessingSettings | None = None
    calibration: Callable[[], CalibrationInputs] | None = None
    spaces: tuple[Space, ActionSpace] | None = None
    checkpoint_key: str | None = None
    alone: bool = False
    single: bool = False
    files: Mapping[str, Path] = field(default_factory=dict)
    framework: tuple[str, ...] = ("torchvision", "torch")
    signature: Signature | None = None
    run: Run | None = None

    @property
    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """The axes of any size, by input and output: the batch, or the number of what is found in one picture."""
        if self.single:
            return {}
        if self.alone:
            return {name: {0: "found"} for name in self.output_names}
        return {name: {0: "batch"} for name in (self.input_name, *self.output_names)}
