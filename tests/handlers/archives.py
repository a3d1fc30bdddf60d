"""Unpacked archives of tiny models, written to a folder as TorchServe unpacks them."""

import base64
import io
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LABELS = ["red", "green", "blue"]
FIELDS = ["position", "speed", "angle", "turn"]


class ColourNetwork(torch.nn.Module):
    """Logits are ten times the mean of each channel, from 0 to 1: a red picture is of class red."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean((1, 2)) * (10.0 / 255.0)


class ObservationNetwork(torch.nn.Module):
    """Two numbers of each observation of four, times two; the logarithm makes some not finite on request."""

    def __init__(self, logarithm: bool = False) -> None:
        super().__init__()
        self.logarithm = logarithm

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        kept = observation[:, :2] * 2.0
        return torch.log(kept) if self.logarithm else kept


def export(network: torch.nn.Module, example: torch.Tensor, path: Path, output: str, fixed: bool = False) -> None:
    """Export as the file name says; `fixed` keeps the batch size of the example in an ONNX graph."""
    with warnings.catch_warnings():
        # torch announces the end of TorchScript and of its small ONNX exporter; both are fast, which tests need.
        warnings.simplefilter("ignore")
        if path.suffix == ".pt":
            torch.jit.trace(network, (example,)).save(str(path))  # type: ignore[no-untyped-call]  # torch's
            return
        name = "pixels" if example.dtype == torch.uint8 else "observation"
        axes = {name: {0: "N"}, output: {0: "N"}} if not fixed else None
        torch.onnx.export(
            network, (example,), str(path), dynamo=False, input_names=[name], output_names=[output], dynamic_axes=axes
        )


def png(colour: tuple[int, int, int], size: tuple[int, int] = (9, 7)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(pixels: NDArray[Any], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def vision_card(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "model_name": "colours",
        "kind": "vision",
        "description": "Names the strongest colour.",
        "weights": "trained",
        "artifact": {"format": "onnx", "file": "model.onnx"},
        "request_params": {"batch_size": 4, "max_batch_delay": 5, "initial_workers": 1},
        "labels": LABELS,
        "preprocessing": {"resize": [4, 4], "interpolation": "bilinear", "crop": None, "mean": [0] * 3, "std": [1] * 3},
        "decode": "exact",
        "output": {"activation": "softmax", "thresholds": 0.5, "top_k": None},
        "provenance": {"checkpoint": "colours.pt"},
    } | changes  # fmt: skip


def policy_card(**changes: Any) -> dict[str, Any]:
    space = {
        "type": "box",
        "shape": [4],
        "dtype": "float32",
        "low": [-4.8, None, -0.5, None],
        "high": [4.8, None, 0.5, None],
    }
    return {
        "schema_version": 1,
        "model_name": "steering",
        "kind": "policy",
        "description": "Takes the larger of the first two numbers.",
        "weights": "trained",
        "artifact": {"format": "onnx", "file": "model.onnx"},
        "request_params": {"batch_size": 4, "max_batch_delay": 1, "initial_workers": 1},
        "observation": {"fields": FIELDS, "space": space, "out_of_range": "reject"},
        "action": {"space": {"type": "discrete", "n": 2, "start": 0}, "names": ["left", "right"]},
        "provenance": {"checkpoint": "steering.zip"},
    } | changes  # fmt: skip


def sample(content_type: str, body: bytes, predictions: list[Any]) -> dict[str, Any]:
    return {"content_type": content_type, "body": base64.b64encode(body).decode(), "predictions": predictions}


RED = {"label": "red", "confidence": 0.999909, "probabilities": {"red": 0.999909, "green": 4.5e-05, "blue": 4.5e-05}}


def vision_golden(prediction: Any = None) -> dict[str, Any]:
    return {"tolerance": 1e-4, "samples": [sample("image/png", png((255, 0, 0)), [prediction or RED])]}


def policy_golden(action: Any = 1) -> dict[str, Any]:
    return {"tolerance": 1e-4, "samples": [sample("application/json", b"[0.1, 0.2, 0.3, 0.4]", [{"action": action}])]}


def write(folder: Path, entry: str, card: dict[str, Any], golden: dict[str, Any], version: str = "1.0") -> Path:
    """Write everything but the artifact."""
    (folder / "MAR-INF").mkdir(parents=True)
    model = {"modelName": card["model_name"], "modelVersion": version, "handler": entry}
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": model}))
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "golden.json").write_text(json.dumps(golden))
    if (ROOT / "handlers" / entry).is_file():
        shutil.copy(ROOT / "handlers" / entry, folder / entry)
    return folder


def vision(folder: Path, card: dict[str, Any] | None = None, golden: dict[str, Any] | None = None) -> Path:
    card = card or vision_card()
    write(folder, "vision_handler.py", card, golden or vision_golden())
    export(ColourNetwork(), torch.zeros(2, 4, 4, 3, dtype=torch.uint8), folder / card["artifact"]["file"], "logits")
    return folder


def policy(
    folder: Path, card: dict[str, Any] | None = None, golden: dict[str, Any] | None = None, logarithm: bool = False
) -> Path:
    card = card or policy_card()
    write(folder, "policy_handler.py", card, golden or policy_golden())
    output = "action" if card["action"]["space"]["type"] == "box" else "logits"
    export(ObservationNetwork(logarithm), torch.ones(2, 4), folder / card["artifact"]["file"], output)
    return folder


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise: neighbours are related, as in a photograph, and no value is rare."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
