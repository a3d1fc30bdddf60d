"""Published weights of torchvision: the network is the one that its builder returns for them."""

import inspect
from typing import Any

import pytest
from torch import nn

from errors import BuildError
from handlers.networks import build_network
from serialize import network_spec
from serialize.preprocessing_preset import resolve
from settings.schema import VisionModel
from tests.serialize.conftest import Compose

INCEPTION = "Inception_V3_Weights.IMAGENET1K_V1"
STATED = ("served_model.network_args={transform_input: false}",)
DETECT = ("served_model.task=detect", "~served_model.output.activation", "served_model.output.threshold=0.5",
          "served_model.output.nms=none")  # fmt: skip


def spec(compose: Compose, network: str, preset: str | None, *words: str) -> dict[str, Any]:
    preset_words = () if preset is None else (f"served_model.preprocessing.preset=torchvision/{preset}",)
    task = DETECT if network.endswith("fpn") else ()
    model = compose("digits", f"served_model.network=torchvision/{network}", *preset_words, *task, *words).built_model
    resolved = resolve(model)
    assert isinstance(resolved, VisionModel)
    return network_spec.network_spec(resolved, 10)


@pytest.mark.parametrize(
    ("change", "names"), [("transform_input", network_spec.TRANSFORMING), ("overwrite_eps", network_spec.EPSILON_0)]
)
def test_builders_that_change_the_network_with_its_weights_are_known(change: str, names: tuple[str, ...]) -> None:
    from torchvision.models import get_model_builder

    builders = network_spec.torchvision_builders()
    found = [name for name in builders if change in inspect.getsource(get_model_builder(name))]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("network", network_spec.TRANSFORMING)
@pytest.mark.parametrize("preset", [None, "ResNet18_Weights.IMAGENET1K_V1"])
def test_checkpoint_of_an_unknown_input_is_refused(compose: Compose, network: str, preset: str | None) -> None:
    match = rf"torchvision/{network} was trained with transform_input; set .*network_args={{transform_input: true}}"
    with pytest.raises(BuildError, match=match):
        spec(compose, network, preset)
    assert spec(compose, network, preset, *STATED)["args"] == {"transform_input": False}
    assert "args" not in spec(compose, network, preset, "served_model.weights=random")


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_preset_of_the_networks_weights_transforms_its_input(compose: Compose) -> None:
    made = spec(compose, "inception_v3", INCEPTION)
    assert made["args"] == {"transform_input": True}
    network: Any = build_network(made)
    assert network.network.transform_input
    assert spec(compose, "inception_v3", INCEPTION, *STATED)["args"] == {"transform_input": False}


def test_preset_of_coco_v1_takes_the_epsilon_off_the_batch_norms(compose: Compose) -> None:
    made = spec(compose, "retinanet_resnet50_fpn", "RetinaNet_ResNet50_FPN_Weights.COCO_V1")
    norms = [each for each in build_network(made).modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(norms) == 53
    assert {each.eps for each in norms} == {0.0}
    legacy = spec(compose, "keypointrcnn_resnet50_fpn", "KeypointRCNN_ResNet50_FPN_Weights.COCO_LEGACY")
    assert "args" not in legacy
