"""Builds a network from its description, which `eager` archives need beside their weights.

{"type": "torchvision", "name": "resnet18", "classes": 24, "mean": [...], "std": [...]}
{"type": "policy", ...}   see handlers.policy_network
"""

from typing import Any

import torch
from torch import nn

from handlers.policy_network import PolicyNetwork
from handlers.torchvision_ops import ensure_torchvision_ops


class ImageClassifier(nn.Module):
    """A classifier that takes images as a decoder returns them, and normalises them itself.

    pixels: uint8 [N, H, W, 3], RGB → logits: [N, classes] in the floating type of the weights.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        # Not persistent: a user's state dict has no such keys.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        scaled = pixels.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        logits: torch.Tensor = self.network((scaled - self.mean) / self.std)
        return logits


def build_network(spec: dict[str, Any]) -> nn.Module:
    """Return the network of `spec` in evaluation mode, with random weights until `load_state_dict`.

    Raises ValueError for an unknown type.
    """
    match spec["type"]:
        case "torchvision":
            return _torchvision(spec).eval()
        case "policy":
            return PolicyNetwork.from_spec(spec).eval()
        case unknown:
            raise ValueError(f"no network of type {unknown!r}")


def _torchvision(spec: dict[str, Any]) -> ImageClassifier:
    ensure_torchvision_ops()
    # Imported here: a worker whose artifact needs no torchvision must not wait for its import.
    from torchvision.models import get_model

    return ImageClassifier(get_model(spec["name"], num_classes=spec["classes"]), spec["mean"], spec["std"])
