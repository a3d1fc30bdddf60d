"""Builds a network from its description, which `eager` archives need beside their weights.

{"type": "torchvision", "name": "resnet18", "classes": 24, "mean": [...], "std": [...]}
{"type": "timm", "name": "resnet18d", ...}   the same keys; 0 classes: the features before the classifier
{"type": "file", "file": "net.py", "name": "Net", ...}   the user's function or class, in the archive's folder `network`
{"type": "module", "module": "package.nets", "name": "net", ...}   the same from an installed package
{"type": "transformers", "architecture": "ViTForImageClassification", "config": {...}, ...}   config.json's content
{"type": "policy", ...}   see handlers.policy_network

`args` are further arguments by name; of torchvision's networks, `batch_norm_eps` is the epsilon of every batch norm.
A description with `features` is of a network without its last linear layer.

An image network takes pixels [N, H, W, C] as the decoder returns them, one of `mean` and `std` for each channel. Its
`form`, "classifier" where the description has none, says what it returns. Boxes and maps refer to the network's input:
handlers.placement takes them back to the picture that was sent.

    classifier   logits [N, numbers]: of classes, or what the task reads
    segmenter    logits [N, classes, H, W]
    detector     of one picture alone: boxes float32 [n, 4] as x1, y1, x2, y2 in pixels from the left upper corner,
                 scores float32 [n] from 0 to 1, labels int64 [n]: the index of the class's name

A network of form "tensors" is the user's as it is.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from handlers.policy_network import PolicyNetwork
from handlers.torchvision_ops import ensure_torchvision_ops

BATCH_NORM_EPS = "batch_norm_eps"
DETECTIONS = ("boxes", "scores", "labels")
"""The outputs of a detector, in their order."""


class ImageClassifier(nn.Module):
    """A classifier that takes images as a decoder returns them, and normalises them itself.

    pixels: uint8 [N, H, W, C] → logits: [N, classes] in the floating type of the weights.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        # Not persistent: a user's state dict has no such keys.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> Any:
        """Return the logits of a batch of images."""
        return _tensor(self.network(self.normalised(pixels)))

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the images as float [N, C, H, W], less the mean, divided by the deviation."""
        scaled = pixels.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        return (scaled - self.mean) / self.std


class ImageSegmenter(ImageClassifier):
    """The same for a network with a class at each pixel: logits [N, classes, H, W] in the size of the images.

    A smaller map is enlarged bilinearly, as its authors do before they compare it with the truth.
    """

    def forward(self, pixels: torch.Tensor) -> Any:
        """Return the logits of each pixel."""
        logits = _tensor(self.network(self.normalised(pixels)))
        size = pixels.shape[1], pixels.shape[2]
        if tuple(logits.shape[-2:]) == size:
            return logits
        return nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class ImageDetector(ImageClassifier):
    """The same for a detector that takes a list of images and returns boxes, scores and labels, as torchvision's do."""

    def forward(self, pixels: torch.Tensor) -> Any:
        """Return (boxes, scores, labels) of a batch of one image."""
        found = self.network([self.normalised(pixels)[0]])
        found = found[0] if isinstance(found, list) else found
        return tuple(found[name] for name in DETECTIONS) if isinstance(found, Mapping) else tuple(found)


TENSORS = "tensors"
FORMS = {"classifier": ImageClassifier, "segmenter": ImageSegmenter, "detector": ImageDetector}


def build_network(spec: dict[str, Any], folder: Path = Path()) -> nn.Module:
    """Return the network of `spec` in evaluation mode, with random weights until `load_state_dict`.

    `folder` holds the user's file, where the description names one. Raises ValueError for an unknown type.
    """
    if spec["type"] == "policy":
        return PolicyNetwork.from_spec(spec).eval()
    if spec["type"] not in _BUILDERS:
        raise ValueError(f"no network of type {spec['type']!r}")
    network = _BUILDERS[spec["type"]](spec, folder)
    return (network if spec.get("form") == TENSORS else image_network(network, spec)).eval()


def image_network(network: nn.Module, spec: Mapping[str, Any]) -> ImageClassifier:
    """Return the network inside one of its form, which takes pixels and normalises them."""
    return FORMS[spec.get("form", "classifier")](network, spec["mean"], spec["std"])


def _torchvision(spec: Mapping[str, Any], folder: Path) -> nn.Module:
    del folder
    ensure_torchvision_ops()
    # Imported here: a worker whose artifact needs no torchvision must not wait for its import.
    from torchvision.models import get_model

    # Detectors and segmenters would download the weights of their backbones otherwise.
    without = {} if spec.get("form", "classifier") == "classifier" else {"weights": None, "weights_backbone": None}
    given = {"num_classes": spec["classes"]} if spec["classes"] else {}
    args = without | given | spec.get("args", {})
    eps = args.pop(BATCH_NORM_EPS, None)
    network: nn.Module = get_model(spec["name"], **args)
    for module in network.modules() if eps is not None else ():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = float(eps)
    if len(spec["mean"]) != 3:
        _replace_first_convolution(network, len(spec["mean"]))
    if spec.get("features"):
        _remove_last_linear(network)
    return network


def _timm(spec: Mapping[str, Any], folder: Path) -> nn.Module:
    del folder
    ensure_torchvision_ops()
    import timm  # an optional requirement

    given = {"num_classes": spec["classes"], "in_chans": len(spec["mean"])} | spec.get("args", {})
    network: nn.Module = timm.create_model(spec["name"], pretrained=False, **given)
    return network


def _file(spec: Mapping[str, Any], folder: Path) -> nn.Module:
    # Dataclasses look for their module by its name, which must not be that of another one.
    name = f"marina_network_{Path(spec['file']).stem}"
    found = importlib.util.spec_from_file_location(name, folder / spec["file"])
    assert found is not None  # the name ends in .py
    assert found.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return _called(module, spec)


def _module(spec: Mapping[str, Any], folder: Path) -> nn.Module:
    del folder
    return _called(importlib.import_module(spec["module"]), spec)


def _transformers(spec: Mapping[str, Any], folder: Path) -> nn.Module:
    del folder
    import transformers  # an optional requirement

    config = transformers.CONFIG_MAPPING[spec["config"]["model_type"]].from_dict(dict(spec["config"]))
    network: nn.Module = getattr(transformers, spec["architecture"])(config)
    return network


def _called(module: Any, spec: Mapping[str, Any]) -> nn.Module:
    network = getattr(module, spec["name"])(**spec.get("args", {}))
    if not isinstance(network, nn.Module):
        raise TypeError(f"{spec['name']} returns a {type(network).__name__}, not a torch.nn.Module")
    return network


_BUILDERS: dict[str, Callable[[Mapping[str, Any], Path], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "file": _file,
    "module": _module,
    "transformers": _transformers,
}


def _replace_first_convolution(network: nn.Module, channels: int) -> None:
    """Let the network take another number of channels than three; everything else of its first layer stays."""
    name, old = next((name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d))
    geometry = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation", "groups")}
    new = nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **geometry)
    _set_module(network, name, new)


def _remove_last_linear(network: nn.Module) -> None:
    name = [name for name, each in network.named_modules() if isinstance(each, nn.Linear)][-1]
    _set_module(network, name, nn.Identity())


def _set_module(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def _tensor(found: Any) -> Any:
    """Return the tensor of logits among what a network returns: it alone, under its usual key, or the first of them."""
    if isinstance(found, Mapping):
        return next((found[key] for key in ("logits", "out") if key in found), next(iter(found.values())))
    return found[0] if isinstance(found, tuple | list) else found
