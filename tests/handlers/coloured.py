"""A detector and a segmenter of colours, whose answers a picture's maker knows, and pictures of all kinds for them."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.handlers.archives import LABELS, sample, vision_card, write

BOX = (48, 30, 96, 90)
"""Left, top, right and bottom of the red box in a picture of 160 x 120."""
BLUE = (112, 60, 152, 110)


class ColourDetector(torch.nn.Module):
    """One box around the pixels of each colour that is in the picture; the score is the share of the box they fill."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        colours = pixels[0].float() / 255
        mine = (colours > 0.6) & (colours.sum(2, keepdim=True) < 1.4)
        height, width = pixels.shape[1], pixels.shape[2]
        rows, columns = mine.any(1).float(), mine.any(0).float()
        down = torch.arange(height)[:, None].float()
        right = torch.arange(width)[:, None].float()
        top, bottom = _ends(rows, down)
        left, end = _ends(columns, right)
        boxes = torch.stack([left, top, end, bottom], dim=1)
        areas = (end - left) * (bottom - top)
        scores = mine.float().sum((0, 1)) / areas.clamp(min=1)
        found = torch.nonzero(areas > 0)[:, 0]
        return boxes[found], scores[found].clamp(max=1), found


def _ends(there: torch.Tensor, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    first = torch.where(there > 0, position, torch.tensor(1e6)).amin(0)
    last = torch.where(there > 0, position + 1, torch.tensor(0.0)).amax(0)
    return torch.minimum(first, last), last


class ColourSegmenter(torch.nn.Module):
    """Logits of a pixel: grey, and its three colours."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        colours = pixels.permute(0, 3, 1, 2).float() / 255
        return torch.cat([torch.full_like(colours[:, :1], 0.3), colours - colours.mean(1, keepdim=True)], dim=1)


def drawing(
    size: tuple[int, int] = (120, 160), boxes: Mapping[str, tuple[int, ...]] | None = None
) -> NDArray[np.uint8]:
    """A grey picture, uint8 [height, width, 3], with boxes filled with their colours; the usual two by default."""
    pixels = np.full((*size, 3), 128, dtype=np.uint8)
    for colour, (left, top, right, bottom) in ({"red": BOX, "blue": BLUE} if boxes is None else boxes).items():
        pixels[top:bottom, left:right] = np.eye(3, dtype=np.uint8)[LABELS.index(colour)] * 255
    return pixels


def pictures() -> dict[str, bytes]:
    """The usual picture in the forms that clients send; all of them look alike."""
    image = Image.fromarray(drawing())
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = image.convert("RGBA")
    clear.putalpha(255)
    return {
        "png": _file(image, "PNG"),
        "palette": _file(image.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "transparent": _file(clear, "PNG"),
        "jpeg": _file(image, "JPEG", quality=95, subsampling=0),
        "turned": _file(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, subsampling=0, exif=turned),
        "cmyk": _file(image.convert("CMYK"), "TIFF"),
    }


def drawn(boxes: Mapping[str, tuple[int, ...]]) -> bytes:
    """A PNG with these boxes, of the usual size."""
    return _file(Image.fromarray(drawing(boxes=boxes)), "PNG")


def _file(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def card(task: str, **changes: Any) -> dict[str, Any]:
    """The card of the detector or the segmenter; its input has half the size of the usual picture."""
    output = {
        "detect": {"threshold": 0.3, "nms": "none", "top_k": None},
        "segment": {"activation": "softmax", "mask": "png"},
    }[task]
    labels = LABELS if task == "detect" else ["grey", *LABELS]
    shape = {"resize": [60, 80], "interpolation": "bilinear", "crop": None, "mean": [0] * 3, "std": [1] * 3}
    return vision_card(task=task, labels=labels, preprocessing=shape, output=output) | changes


def archive(folder: Path, document: dict[str, Any], golden: Any) -> Path:
    """An unpacked archive whose golden request is the usual picture."""
    samples = [sample("image/png", pictures()["png"], [golden])]
    write(folder, "vision_handler.py", document, {"tolerance": 1e-4, "samples": samples})
    shape = document["preprocessing"]
    size = shape["crop"] or shape["resize"]
    detects = document["task"] == "detect"
    names = ["boxes", "scores", "labels"] if detects else ["logits"]
    axes = {name: {0: "found"} for name in names} if detects else {name: {0: "N"} for name in ("pixels", *names)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ColourDetector() if detects else ColourSegmenter(),
            (torch.zeros(1 if detects else 2, *size, 3, dtype=torch.uint8),),
            str(folder / "model.onnx"),
            dynamo=False,
            input_names=["pixels"],
            output_names=names,
            dynamic_axes=axes,
        )
    return folder
