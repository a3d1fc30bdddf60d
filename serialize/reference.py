"""What the framework itself answers: torchvision's transforms and eager torch, nothing of the worker's own.

But for what a picture file shows: transparency, depth and orientation follow the rules of `handlers.pictures`.

Computed in float64, so that every machine rounds to the same digits; a float32 artifact differs by its own rounding.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handlers import pictures
from handlers.limits import MAX_PIXELS
from handlers.pictures import Rules
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.loaded_model import LoadedModel
from serialize.sample_requests import SampleRequest
from serialize.states import state_inputs
from settings.schema import PolicyModel, PreprocessingSettings, VisionModel


@dataclass(frozen=True, eq=False)
class Reference:
    """One request: the network's inputs [k, ...], in their own type, and its named output [k, ...] in float64."""

    request: SampleRequest
    inputs: NDArray[Any]
    output_name: str
    output: NDArray[np.float64]


def references(source: LoadedModel, model: VisionModel | PolicyModel, requests: list[SampleRequest]) -> list[Reference]:
    """What the framework makes of each request."""
    return outputs(source, requests, [_inputs(request, model, source) for request in requests])


def outputs(source: LoadedModel, requests: list[SampleRequest], inputs: list[torch.Tensor]) -> list[Reference]:
    """What the framework's network makes of each request's `inputs`."""
    network = copy.deepcopy(source.network).double()
    found = []
    for request, batch in zip(requests, inputs, strict=True):
        # An observation is a float32 in every policy; what follows from it is computed exactly.
        wide = batch.double() if batch.is_floating_point() else batch
        with torch.inference_mode():
            found.append(Reference(request, batch.numpy(), source.output_name, network(wide).numpy()))
    return found


def torchvision_pixels(body: bytes, preprocessing: PreprocessingSettings) -> torch.Tensor:
    """One picture as torchvision's transforms make it, uint8 [H, W, 3]."""
    ensure_torchvision_ops()
    from torchvision.transforms import InterpolationMode, v2

    resize = preprocessing.resize
    steps = [
        v2.Resize(resize if isinstance(resize, int) else list(resize), InterpolationMode(preprocessing.interpolation))
    ]
    if preprocessing.crop is not None:
        steps.append(v2.CenterCrop(list(preprocessing.crop)))
    image = pictures.shown(body, Rules(MAX_PIXELS, preprocessing.background, preprocessing.white))
    return torch.from_numpy(np.asarray(v2.Compose(steps)(image)).copy())


def _inputs(request: SampleRequest, model: VisionModel | PolicyModel, source: LoadedModel) -> torch.Tensor:
    if isinstance(model, VisionModel):
        return torchvision_pixels(request.body, model.preprocessing)[None]
    return state_inputs(request, model, source.card["observation"]["space"], source.example)
