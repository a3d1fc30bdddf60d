"""A reduced decode is packed only where the model's answers stay the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from errors import ParityError
from serialize.build import build
from tests.handlers.archives import noise
from tests.serialize.conftest import Compose

WORDS = ("served_model.weights=random", "served_model.preprocessing.resize=[32,32]", "served_model.artifact=eager",
         "served_model.calibration.count=8")  # fmt: skip
ANY = ("served_model.decode_limits.top1=0", "served_model.decode_limits.change=1")
NONE = ("served_model.decode_limits.top1=1", "served_model.decode_limits.change=0")


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(8):
        Image.fromarray(noise(150, 200, number)).save(folder / f"{number}.jpg", quality=90)
    return f"served_model.calibration.pictures={folder}"


def card(compose: Compose, *words: str) -> dict[str, Any]:
    return dict(build(compose("digits", *WORDS, *words)).archive.card)


@pytest.mark.parametrize("mode", ["fast", "auto"])
def test_select_decode_fastest_passing_level_is_in_the_card(compose: Compose, pictures: str, mode: str) -> None:
    found = card(compose, pictures, f"served_model.decode={mode}", *ANY)
    assert found["decode"] == "fast"
    assert found["decode_level"] == {"margin": 1, "fast_transform": True, "fast_upsampling": True}
    report = found["decode_report"]
    assert report["jpegs"] == 8
    assert report["pictures"] == "8 of 8 pictures in photographs"
    assert 0 < report["levels"][-1]["change"] < 1


def test_select_decode_fast_that_changes_answers_is_refused(compose: Compose, pictures: str) -> None:
    with pytest.raises(
        ParityError, match=r"changes the answers: on 8 JPEGs .*margin 1, .*: top-1 .*%, change 0\.\d+; margin"
    ):
        card(compose, pictures, "served_model.decode=fast", *NONE)


def test_auto_that_earns_nothing_stays_exact_and_says_why(compose: Compose, pictures: str) -> None:
    found = card(compose, pictures, "served_model.decode=auto", *NONE)
    assert found["decode"] == "exact"
    assert "no level stays inside" in found["decode_report"]["reason"]
    assert len(found["decode_report"]["levels"]) == 10


def test_pictures_without_a_jpeg_measure_nothing(compose: Compose, tmp_path: Path) -> None:
    for number in range(8):
        Image.fromarray(np.full((40, 40, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(ParityError, match="no JPEG to measure it on"):
        card(compose, f"served_model.calibration.pictures={tmp_path}", "served_model.decode=fast")


def test_select_decode_own_processing_stays_exact(compose: Compose, tmp_path: Path) -> None:
    handler = tmp_path / "own_handler.py"
    handler.write_text(
        "from handlers.vision_handler import VisionHandler\n\n\n"
        "class OwnHandler(VisionHandler):\n"
        "    def image_processing(self, picture):\n"
        "        return super().image_processing(picture[:, ::-1])\n"
    )
    with pytest.raises(ParityError, match="its own image_processing"):
        card(compose, f"served_model.handler={handler}", "served_model.decode=fast")
