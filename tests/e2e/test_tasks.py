"""A network of every task, from one YAML file to the gateway's answer, which is the network's own answer."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from settings.load import ROOT
from tests.e2e import task_models
from tests.e2e.conftest import Stack
from tests.e2e.task_models import SIDE, TaskModel, embedding, graph, library, one_channel, regression
from tests.e2e.uploads import QUICK

pytestmark = pytest.mark.e2e

CASES: dict[str, Callable[[Path], TaskModel]] = {
    "own-file-one-channel": one_channel,
    "embedding": embedding,
    "onnx": graph("network.onnx"),
    "lraspp_mobilenet_v3_large": library("torchvision/lraspp_mobilenet_v3_large", "segment"),
    "ssdlite320_mobilenet_v3_large": library("torchvision/ssdlite320_mobilenet_v3_large", "detect", SIDE),
}
SLOW: dict[str, Callable[[Path], TaskModel]] = {
    "regression": regression,
    "pt2": graph("network.pt2"),
    "efficientnet_b0": library("torchvision/efficientnet_b0", "classify"),
    "resnet50": library("torchvision/resnet50", "classify", (224, 224)),
    "vit_b_16": library("torchvision/vit_b_16", "classify", (224, 224)),
    "convnext_tiny": library("torchvision/convnext_tiny", "classify", (224, 224)),
    "fasterrcnn_mobilenet_v3_large_320_fpn": library(
        "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn", "detect", SIDE
    ),
    "deeplabv3_mobilenet_v3_large": library("torchvision/deeplabv3_mobilenet_v3_large", "segment", (224, 224)),
}
TIMM = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed: requirements-timm.txt"
)


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(make, id=name) for name, make in CASES.items()),
        *(pytest.param(make, id=name, marks=pytest.mark.slow) for name, make in SLOW.items()),
        pytest.param(library("timm/resnet18d", "classify"), id="timm-resnet18d", marks=[TIMM, pytest.mark.slow]),
    ],
)
def test_served_answer_is_the_networks_own(stack: Stack, tmp_path: Path, make: Callable[[Path], TaskModel]) -> None:
    model = make(tmp_path)
    found = []
    with served(stack, tmp_path, model) as url:
        for media_type, body in task_models.pictures(model):
            response = requests.post(url, data=body, headers={"Content-Type": media_type}, timeout=120)
            assert response.status_code == 200, response.text
            [prediction] = response.json()["predictions"]
            task_models.check(model, body, prediction)
            found.append(prediction)
    task_models.check_variety(model, found)


@contextmanager
def served(stack: Stack, folder: Path, model: TaskModel) -> Iterator[str]:
    """The model built from its YAML and rolled out as users do it; yields its route, and removes it at the end."""
    config = folder / "config"
    shutil.copytree(ROOT / "config", config, ignore=shutil.ignore_patterns("local"))
    name = model.settings["model_name"]
    (config / "served_model" / f"{name}.yaml").write_text(yaml.safe_dump(model.settings, sort_keys=False))
    own = Stack(stack.env | {"MARINA_CONFIG": str(config)})
    chosen = f"served_model={name}"
    own.run("-m", "serialize", chosen, timeout_s=1200)
    own.run("upload_model.py", chosen, *QUICK)
    try:
        yield own.predict_url(name)
    finally:
        own.run("-m", "delivery", "remove", chosen)
        for archive in own.archives.glob(f"{name}*"):
            archive.unlink()
