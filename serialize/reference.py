"""The framework's own answers: torchvision's transforms and eager torch, without the worker's code.

    request ──torchvision_pixels, state_inputs──▶ inputs ──network in float64──▶ Reference

Only the reading of an image file (transparency, depth and orientation) follows the worker's rules. float64 makes every
machine round to the same digits; a float32 artifact differs by its own rounding.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handlers import image_decode
from handlers.image_decode import DecodeRules
from handlers.request_limits import MAX_PIXELS
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.loaded_model import LoadedModel
from serialize.sample_requests import SampleRequest, state_inputs
from settings.schema import PolicyModel, PreprocessingSettings, VisionModel


@dataclass(frozen=True, eq=False)
class Reference:
    """One request: the network's inputs [k, ...], in their own type, and its named output [k, ...] in float64."""

    request: SampleRequest
    inputs: NDArray[Any]
    output_name: str
    output: NDArray[np.float64]


def framework_references(
    loaded: LoadedModel, model: VisionModel | PolicyModel, requests: list[SampleRequest]
) -> list[Reference]:
    """Return the framework's inputs and outputs of each request."""
    return run_framework(loaded, requests, [_framework_inputs(request, model, loaded) for request in requests])


def run_framework(loaded: LoadedModel, requests: list[SampleRequest], inputs: list[torch.Tensor]) -> list[Reference]:
    """Return the network's outputs for the `inputs` of each request."""
    network = copy.deepcopy(loaded.network).double()
    found = []
    for request, batch in zip(requests, inputs, strict=True):
        # An observation is a float32 in every policy; everything after it is computed exactly.
        wide = batch.double() if batch.is_floating_point() else batch
        with torch.inference_mode():
            found.append(Reference(request, batch.numpy(), loaded.output_name, network(wide).numpy()))
    return found


def torchvision_pixels(body: bytes, preprocessing: PreprocessingSettings) -> torch.Tensor:
    """Return one image as torchvision's transforms make it, uint8 [H, W, 3]."""
    ensure_torchvision_ops()
    from torchvision.transforms import InterpolationMode, v2

    resize = preprocessing.resize
    steps = [
        v2.Resize(resize if isinstance(resize, int) else list(resize), InterpolationMode(preprocessing.interpolation))
    ]
    if preprocessing.crop is not None:
        steps.append(v2.CenterCrop(list(preprocessing.crop)))
    image = image_decode.decode_with_pillow(
        body, DecodeRules(MAX_PIXELS, preprocessing.background, preprocessing.white)
    )
    return torch.from_numpy(np.asarray(v2.Compose(steps)(image)).copy())


def _framework_inputs(request: SampleRequest, model: VisionModel | PolicyModel, loaded: LoadedModel) -> torch.Tensor:
    if isinstance(model, VisionModel):
        return torchvision_pixels(request.body, model.preprocessing)[None]
    assert loaded.spaces is not None
    return state_inputs(request, model, loaded.spaces[0], loaded.example)
