"""The parity gate of detectors: a golden answer without a detection shows no fault, so some must hold one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errors import ParityError
from serialize.build import BuildResult, build
from serialize.formats import FORMATS
from serialize.formats.eager import Eager
from serialize.sample_requests import image_request
from tests.serialize.conftest import Compose

NETWORK = """
import torch
from torch import nn


class RedDetector(nn.Module):
    def __init__(self, sure=40.0):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(-0.9))
        self.corners = nn.Parameter(torch.tensor([[4.0, 4.0, 20.0, 24.0]]))
        self.sure = sure

    def forward(self, images):
        means = images[0].mean((1, 2))
        score = torch.sigmoid((means[0] - means[2] + self.bias) * self.sure)
        found = score[None] > 0.05
        return [{"boxes": self.corners[found], "scores": score[None][found], "labels": found.nonzero()[:, 0]}]
"""

Build = Callable[..., BuildResult]


@pytest.fixture
def detector(compose: Compose, tmp_path: Path) -> Build:
    """Build a detector of red pictures, which finds nothing in others, as a trained one does."""
    path = tmp_path / "red.py"
    path.write_text(NETWORK)
    torch.save({"bias": torch.tensor(-0.9), "corners": torch.tensor([[4.0, 4.0, 20.0, 24.0]])}, tmp_path / "red.pt")
    words = {
        "network": f"{path}:RedDetector",
        "checkpoint": tmp_path / "red.pt",
        "task": "detect",
        "labels": "[red]",
        "artifact": "eager",
        "output.threshold": "0.5",
        "output.nms": "none",
        "calibration.pictures": "null",
        "preprocessing": "{resize: [32, 32], mean: [0, 0, 0], std: [1, 1, 1]}",
    }
    overrides = [f"++served_model.{name}={value}" for name, value in words.items()]
    return lambda *more: build(compose("digits", "~served_model.output.activation", *overrides, *more))


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    """A folder in which every other picture is red, and one is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(16):
        colour = (250 - number, 3, 2) if number % 2 else (90, 90, 90)
        request = image_request(np.full((70, 50, 3), colour, np.uint8), "jpeg")
        (folder / f"{number:02}.jpg").write_bytes(request.body)
    (folder / "00.png").write_bytes(b"no picture")
    return f"served_model.calibration.pictures={folder}"


class Displaced(Eager):
    """An exporter whose boxes lie elsewhere."""

    def export(self, source: Any, target: Path) -> dict[str, Any]:
        details = super().export(source, target)
        state = torch.load(target, weights_only=True)
        state["network.corners"] += 3
        torch.save(state, target)
        return details


def test_a_detector_that_finds_nothing_in_its_golden_pictures_is_not_packed(detector: Build) -> None:
    with pytest.raises(ParityError, match=r"finds nothing in .*served_model\.calibration\.pictures=FOLDER"):
        detector()


def test_pictures_of_the_user_become_golden_requests_of_a_detector(detector: Build, pictures: str) -> None:
    found = [each["predictions"][0]["detections"] for each in detector(pictures).archive.golden["samples"]]
    assert [len(each) for each in found].count(1) == 5
    assert all(each["label"] == "red" for some in found for each in some)


def test_a_detector_with_other_boxes_is_refused(
    detector: Build, pictures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "eager", Displaced())
    with pytest.raises(ParityError, match=r"does not answer as the framework does.*detections\.box is"):
        detector(pictures)
