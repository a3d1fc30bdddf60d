"""A stock handler: a subclass of TorchServe's VisionHandler with the model's own transforms and labels."""

import os
from typing import Any

import torch
from PIL import Image
from torchvision import transforms
from ts.torch_handler.vision_handler import VisionHandler

LABELS = ["dew", "fogsmog", "frost", "glaze", "hail", "lightning", "rain", "rainbow", "rime", "sandstorm", "snow"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rgb(picture: Image.Image) -> Image.Image:
    """Decode a picture, at reduced size for the level `fast`."""
    if os.environ.get("LEVEL") == "fast":
        picture.draft("RGB", (256, 256))
    return picture.convert("RGB")


class Classify(VisionHandler):  # type: ignore[misc]  # TorchServe has no type hints
    """Weather from pictures."""

    image_processing = transforms.Compose(
        [
            rgb,
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def postprocess(self, data: torch.Tensor) -> list[dict[str, Any]]:
        """Return the likeliest label of each picture."""
        confidences, best = data.softmax(1).max(1)
        pairs = zip(best.tolist(), confidences.tolist(), strict=True)
        return [{"label": LABELS[index], "confidence": confidence} for index, confidence in pairs]
