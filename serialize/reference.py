"""The framework's own answers: torchvision's transforms and eager torch, without the worker's code.

    request ──torchvision_pixels, state_inputs──▶ inputs ──network in float64──▶ Reference

Only the reading of an image file (transparency, depth and orientation) follows the worker's rules. float64 makes every
machine round to the same digits; a float32 artifact differs by its own rounding.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handlers import image_decode
from handlers.batch import apart
from handlers.card import Card
from handlers.image_decode import DecodeRules
from handlers.request_limits import MAX_PIXELS
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.loaded_model import LoadedModel
from serialize.sample_requests import SampleRequest, state_inputs
from settings.schema import BuiltModel, PolicyModel, PreprocessingSettings, VisionModel


@dataclass(frozen=True, eq=False)
class Reference:
    """One request: the network's inputs [k, ...], in their own type, and its named outputs [k, ...] in float64.

    `options` are those of the request, which join the outputs.
    """

    request: SampleRequest
    inputs: NDArray[Any]
    outputs: Mapping[str, NDArray[Any]]
    options: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def predictions(self, card: Card) -> list[dict[str, Any]]:
        """Return the predictions of the framework's outputs."""
        return card.predictions({**self.outputs, **self.options})


def framework_references(loaded: LoadedModel, model: BuiltModel, requests: list[SampleRequest]) -> list[Reference]:
    """Return the framework's inputs and outputs of each request."""
    return run_framework(loaded, requests, [_framework_inputs(request, model, loaded) for request in requests])


def run_framework(
    loaded: LoadedModel, requests: list[SampleRequest], inputs: list[torch.Tensor], dtype: torch.dtype = torch.float64
) -> list[Reference]:
    """Return the network's outputs for the `inputs` of each request, computed in `dtype`."""
    network = copy.deepcopy(loaded.network).to(dtype)
    found = []
    for request, batch in zip(requests, inputs, strict=True):
        # An observation is a float32 in every policy; everything after it is computed exactly.
        wide = batch.to(dtype) if batch.is_floating_point() else batch
        with torch.inference_mode():
            found.append(Reference(request, batch.numpy(), _outputs(network, wide, loaded)))
    return found


def _outputs(network: torch.nn.Module, batch: torch.Tensor, loaded: LoadedModel) -> dict[str, NDArray[Any]]:
    """Return the named outputs of a batch, each instance by itself where the network takes one at a time."""
    if not (loaded.alone or loaded.single):
        return dict(zip(loaded.output_names, _arrays(network(batch)), strict=True))
    each = [_arrays(network(batch[index : index + 1])) for index in range(len(batch))]
    if loaded.single:
        return {
            name: np.concatenate(found)
            for name, found in zip(loaded.output_names, zip(*each, strict=True), strict=True)
        }
    return {name: apart(arrays) for name, arrays in zip(loaded.output_names, zip(*each, strict=True), strict=True)}


def _arrays(outputs: Any) -> list[NDArray[Any]]:
    return [tensor.numpy() for tensor in (outputs if isinstance(outputs, tuple | list) else (outputs,))]


def torchvision_pixels(body: bytes, preprocessing: PreprocessingSettings) -> torch.Tensor:
    """Return one image as torchvision's transforms make it, [H, W, C] of `preprocessing.dtype`."""
    ensure_torchvision_ops()
    from torchvision.transforms import v2

    rules = DecodeRules(
        MAX_PIXELS, preprocessing.background, preprocessing.white, preprocessing.channels, preprocessing.dtype
    )
    planes = image_decode.decode_with_pillow(body, rules)
    pixels = torch.cat([_resized(image, preprocessing) for image in planes])
    crop = preprocessing.crop
    if preprocessing.letterbox:
        pixels, crop = _padded(pixels, preprocessing), None
    cropped: torch.Tensor = pixels if crop is None else v2.CenterCrop(list(crop))(pixels)
    return cropped.permute(1, 2, 0).contiguous()


def _resized(image: Any, preprocessing: PreprocessingSettings) -> torch.Tensor:
    """Return Pillow's image in its new size, [C, height, width]; torchvision always antialiases those."""
    from torchvision.transforms import InterpolationMode, v2

    size: Any = _letterbox(image, preprocessing) if preprocessing.letterbox else preprocessing.target
    size = size if isinstance(size, int) else list(size)
    mode = InterpolationMode(preprocessing.interpolation)
    convert = v2.functional.pil_to_tensor
    if preprocessing.antialias or preprocessing.interpolation == "nearest":
        pixels: torch.Tensor = convert(v2.functional.resize(image, size, mode))
        return pixels
    # As floats: what torch makes of whole numbers here differs between machines.
    found: torch.Tensor = v2.functional.resize(convert(image).float(), size, mode, antialias=False)
    return found if preprocessing.dtype == "float32" else found.round().clamp(0, 255).to(torch.uint8)


def _letterbox(image: Any, preprocessing: PreprocessingSettings) -> tuple[int, int]:
    """Return the largest size of the image's shape inside the box, as its users compute it: rounded to whole pixels."""
    width, height = image.size
    box = preprocessing.size
    scale = min(box[0] / height, box[1] / width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _padded(pixels: torch.Tensor, preprocessing: PreprocessingSettings) -> torch.Tensor:
    """Return the image in the middle of the box, the smaller half of the rest above it and on its left."""
    height, width = preprocessing.size
    top, left = (height - pixels.shape[1]) // 2, (width - pixels.shape[2]) // 2
    fill = torch.tensor(preprocessing.padding or [0] * preprocessing.channels, dtype=pixels.dtype)
    found = fill[:, None, None].repeat(1, height, width)
    found[:, top : top + pixels.shape[1], left : left + pixels.shape[2]] = pixels
    return found


def _framework_inputs(request: SampleRequest, model: BuiltModel, loaded: LoadedModel) -> torch.Tensor:
    if isinstance(model, VisionModel):
        return torchvision_pixels(request.body, model.preprocessing)[None]
    assert isinstance(model, PolicyModel)
    assert loaded.spaces is not None
    return state_inputs(request, model, loaded.spaces[0], loaded.example)
