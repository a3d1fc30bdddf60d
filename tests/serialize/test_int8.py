"""`onnx-int8` keeps the first labels of pictures it was not calibrated on, or is not packed."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from archive import open_archive
from errors import BuildError, ParityError
from serialize.build import build, load_model
from serialize.formats import onnx as float_onnx
from serialize.formats import onnx_int8
from serialize.formats._int8_rewrites import take_pixels
from serialize.loaded_model import CalibrationInputs
from tests.handlers.archives import noise
from tests.serialize.conftest import Compose

RANDOM = ("served_model.weights=random", "served_model.artifact=onnx-int8")
# ResNet18 on seeded weights is a function of its picture, so that quantising it can be compared.
SMALL = (*RANDOM, "served_model.network=resnet18", "served_model.preprocessing.resize=[32,32]",
         "served_model.calibration.count=16")  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(16):
        # Brightness and colour differ, as those of photographs do.
        shade = np.array([number % 4, number // 4, (number * 7) % 4]) / 4
        picture = (noise(60 + number, 80, number) * 0.3 + 170 * shade).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:02}.jpg", quality=95)
    return folder


def test_int8_build_packs_figures_and_answers_in_onnx_runtime(compose: Compose, tmp_path: Path, pictures: Path) -> None:
    words = (*SMALL, f"served_model.calibration.pictures={pictures}", "served_model.int8_limits.top1=0.5",
             "served_model.int8_limits.change=0.5")  # fmt: skip
    archive = build(compose("digits", *words)).archive
    artifact = archive.card["artifact"]
    assert (artifact["format"], artifact["runtime"]) == ("onnx-int8", "onnx")
    figures = artifact["quantisation"]
    assert figures["top1"] >= 0.5
    assert (figures["calibrated_on"], figures["measured_on"]) == (8, 8)
    assert figures["pictures"] == "16 of 16 pictures in photographs"
    assert archive.golden["tolerance"] == 0.5
    assert {sample["content_type"] for sample in archive.golden["samples"]} == {"image/jpeg"}

    moved = tmp_path / "elsewhere" / "photographs"
    shutil.copytree(pictures, moved)
    other = [f"paths.archives={tmp_path / 'other'}", f"served_model.calibration.pictures={moved}"]
    command = [sys.executable, "-W", "ignore", "-m", "serialize", "served_model=digits", *words, *other]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "2"}, check=True, capture_output=True)
    assert open_archive(tmp_path / "other" / "digits.mar").sha256 == archive.sha256


def test_int8_build_with_changed_labels_is_refused(
    compose: Compose, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = onnx_int8.answers
    monkeypatch.setattr(
        onnx_int8, "answers", lambda path, inputs: honest(path, inputs) * (-1 if path.suffix == ".onnx" else 1)
    )
    with pytest.raises(ParityError, match=r"of 8 pictures \(16 of 16.*\): 0.0% .* minmax, 0.0% .*percentile"):
        build(compose("digits", *SMALL, f"served_model.calibration.pictures={pictures}"))
    assert list((tmp_path / "archives").iterdir()) == []


def test_quantise_keeps_hardswish_and_pixels_in_eight_bits(tmp_path: Path, compose: Compose) -> None:
    source = load_model(compose("digits", *RANDOM).built_model, None)
    inputs = np.stack([noise(64, 64, seed) for seed in range(16)])
    source = replace(source, calibration=lambda: CalibrationInputs(inputs, "noise", 0.0, 1.0))
    onnx_int8.FORMAT.export(source, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert "HardSigmoid" not in kinds
    assert "Cast" not in kinds
    first = next(node for node in graph.node if node.op_type == "Conv")
    maker = next(node for node in graph.node if first.input[0] in node.output)
    assert (maker.op_type, maker.input[1]) == ("DequantizeLinear", "pixel_scale")


NET = """
from torch import nn

def net(channels):
    return nn.Sequential(nn.Conv2d(channels, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_first_convolution_normalises_pixels_of_any_number_of_channels(
    tmp_path: Path, compose: Compose, channels: int
) -> None:
    (tmp_path / "net.py").write_text(NET)
    words = [f"served_model.network='{tmp_path / 'net.py'}:net'", f"+served_model.network_args.channels={channels}"]
    words += [f"+served_model.preprocessing.channels={channels}"]
    words += [f"served_model.preprocessing.{name}={[0.1, 0.3, 0.5, 0.6][:channels]}" for name in ("mean", "std")]
    float_onnx.export(load_model(compose("digits", *RANDOM, *words).built_model, None), tmp_path / "float.onnx")
    rewritten = onnx.load(tmp_path / "float.onnx")
    assert take_pixels(rewritten.graph) is not None
    onnx.save(rewritten, tmp_path / "rewritten.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, channels), dtype=np.uint8)
    expected = onnx_int8.answers(tmp_path / "float.onnx", pixels)
    np.testing.assert_allclose(onnx_int8.answers(tmp_path / "rewritten.onnx", pixels), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("cartpole", (), "is measured by the first labels of pictures"),
        (
            "digits",
            ("served_model.calibration.pictures=/nowhere",),
            "holds 0 pictures, at least 8 are needed; name a folder that holds some$",
        ),
        (
            "digits",
            ("served_model.calibration.pictures=/nowhere/digits_pictures",),
            "holds 0 pictures, at least 8 are needed; make train_demo makes them$",
        ),
    ],
)
def test_int8_build_without_images_is_refused(
    compose: Compose, name: str, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        build(compose(name, *RANDOM, *words))
