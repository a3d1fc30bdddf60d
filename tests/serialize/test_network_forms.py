"""Detectors and segmenters of torchvision: the exported graph returns what the network returns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errors import BuildError
from handlers import card, runtimes
from serialize.build import load_model
from serialize.formats import FORMATS
from serialize.model_json import model_card
from tests.serialize.conftest import Compose

SIZE = ("served_model.preprocessing.resize=[96,128]", "served_model.preprocessing.crop=null")
LABELS = "served_model.labels=[__background__,cat,dog]"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_detector_graph_finds_the_boxes_of_the_network(compose: Compose, tmp_path: Path, name: str) -> None:
    model = compose("digits", "served_model.weights=random", f"served_model.network=torchvision/{name}", *SIZE, LABELS)
    source = load_model(model.built_model, None)
    details = FORMATS["onnx"].export(source, tmp_path / "model.onnx")
    document = model_card(model.built_model, source, FORMATS["onnx"], details, None)
    assert document["task"] == "detect"
    assert document["artifact"]["outputs"] == ["boxes", "scores", "labels"]
    runtime = _runtime(tmp_path, document)
    pictures = torch.randint(0, 256, (2, 96, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found: Any = runtime(pictures.numpy())
    for index, picture in enumerate(pictures):
        with torch.inference_mode():
            boxes, scores, labels = source.network(picture[None])
        assert len(boxes) >= 5
        np.testing.assert_allclose(found["scores"][index], scores, atol=1e-4)
        np.testing.assert_allclose(found["boxes"][index], boxes, atol=0.05)
        assert found["labels"][index].tolist() == labels.tolist()
        assert found["labels"][index].dtype == np.int64


@pytest.mark.slow
def test_segmenter_graph_gives_the_map_of_the_network(compose: Compose, tmp_path: Path) -> None:
    network = "served_model.network=torchvision/lraspp_mobilenet_v3_large"
    model = compose("digits", "served_model.weights=random", network, *SIZE, LABELS)
    source = load_model(model.built_model, None)
    details = FORMATS["onnx"].export(source, tmp_path / "model.onnx")
    document = model_card(model.built_model, source, FORMATS["onnx"], details, None)
    assert document["task"] == "segment"
    pictures = torch.randint(0, 256, (2, 96, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found: Any = _runtime(tmp_path, document)(pictures.numpy())["logits"]
    with torch.inference_mode():
        expected = source.network(pictures).numpy()
    assert found.shape == (2, 3, 96, 128)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


def test_network_of_another_form_than_the_task_is_refused(compose: Compose) -> None:
    network = "served_model.network=torchvision/fcn_resnet50"
    model = compose("digits", "served_model.weights=random", network, "served_model.task=classify").built_model
    with pytest.raises(BuildError, match=r"is a segmenter.*served_model\.task=segment"):
        load_model(model, None)


def test_unknown_builder_is_refused_with_the_nearest_names(compose: Compose) -> None:
    network = "served_model.network=torchvision/resnet51"
    with pytest.raises(BuildError, match="torchvision has no resnet51; it has resnet50"):
        load_model(compose("digits", "served_model.weights=random", network).built_model, None)


def _runtime(folder: Path, document: dict[str, Any]) -> runtimes.Runtime:
    # The runtime reads the artifact alone, whatever answers the task makes of it.
    (folder / "model.json").write_text(json.dumps({**document, "task": "classify"}))
    return runtimes.load(folder, card.load(folder / "model.json"))
